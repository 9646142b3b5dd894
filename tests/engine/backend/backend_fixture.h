// BackendTest: each operation's suite runs once for every backend of this list that the machine
// has; the others are reported as skipped.
#ifndef TRANSMLA_TESTS_ENGINE_BACKEND_BACKEND_FIXTURE_H_
#define TRANSMLA_TESTS_ENGINE_BACKEND_BACKEND_FIXTURE_H_

#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cpu/create.h"
#include "engine/backend/cpu/instruction_set.h"
#include "engine/base/check.h"
#include "engine/base/cpu_info.h"
#include "engine/base/random.h"
#include "engine/tensor/block_formats.h"
#include "engine/tensor/float_types.h"
#include "tests/engine/backend/emulated/instruction_sets.h"

namespace transmla {

// Every instruction set, and those that are emulated.
inline std::vector<std::string> BackendNames() {
  std::vector<std::string> names = cpu::InstructionSetNames();
  for (const cpu::EmulatedSet& emulated : cpu::kEmulatedSets) names.push_back(emulated.set.name);
  return names;
}

// Null if this machine lacks it.
inline const cpu::InstructionSet* FindSet(const std::string& name) {
  for (const cpu::EmulatedSet& emulated : cpu::kEmulatedSets) {
    if (name == emulated.set.name) return emulated.has(GetCpuInfo()) ? &emulated.set : nullptr;
  }
  const auto set = cpu::FindInstructionSet(name);
  return set.ok() ? *set : nullptr;
}

inline bool MachineHas(const std::string& name) { return FindSet(name) != nullptr; }

// What is multiplied with BF16 is rounded to BF16, given quantised activations.
inline bool RoundsToBf16(const std::string& name) {
  return name == "avx512bf16" || name.starts_with("amx");
}

// Over a cache of 8-bit integers, attention rounds queries and weights to as many bits, likewise.
inline bool MultipliesInt8(const std::string& name) {
  return name == "avx512vnni" || RoundsToBf16(name);
}

// REQUIRES: MachineHas(name).
inline std::unique_ptr<Backend> MakeBackend(const std::string& name, int threads,
                                            bool quantised_activations = false) {
  auto backend = cpu::CpuBackend::Create(
      {.threads = threads, .quantised_activations = quantised_activations}, FindSet(name));
  CHECK_OK(backend.status());
  return std::move(backend).value();
}

// The parameter is a backend's name; the fixture's backend has two threads.
class BackendTest : public ::testing::TestWithParam<std::string> {
 protected:
  explicit BackendTest(bool quantised_activations = false)
      : quantised_activations_(quantised_activations) {}
  void SetUp() override {
    if (!MachineHas(GetParam())) GTEST_SKIP() << "this machine lacks " << GetParam();
    backend_ = MakeBackend(GetParam(), 2, quantised_activations_);
  }
  Backend& backend() { return *backend_; }

 private:
  const bool quantised_activations_;
  std::unique_ptr<Backend> backend_;
};

#define INSTANTIATE_BACKENDS(suite)                                                     \
  INSTANTIATE_TEST_SUITE_P(Cpu, suite, ::testing::ValuesIn(::transmla::BackendNames()), \
                           [](const auto& test) { return test.param; })

inline std::vector<float> RandomFloats(Random& random, int64_t n, double scale = 1.0) {
  std::vector<float> values(n);
  for (float& value : values) value = static_cast<float>(random.Normal() * scale);
  return values;
}

// As a cache of that type holds it; of I8, whose groups share a scale, unchanged.
inline double Rounded(DType dtype, double value) {
  const float f = static_cast<float>(value);
  if (dtype == DType::kBF16) return Bf16ToFloat(FloatToBf16(f));
  if (dtype == DType::kF16) return F16ToFloat(FloatToF16(f));
  return f;
}

// An activation tensor that holds `values`.
class Activations {
 public:
  Activations(Backend& backend, const Shape& shape, const std::vector<float>& values)
      : backend_(backend), rows_(shape[0]) {
    auto tensor = backend.NewTensor(shape);
    CHECK_OK(tensor.status());
    tensor_ = std::move(tensor).value();
    CHECK_OK(backend.Write(values, view()));
  }
  Activations(Backend& backend, const Shape& shape, float fill = 0.0f)
      : Activations(backend, shape, std::vector<float>(shape.elements(), fill)) {}

  MutableTensorView view() { return tensor_->Rows(rows_); }
  std::vector<float> Read() {
    std::vector<float> values(view().shape.elements());
    CHECK_OK(backend_.Read(view(), absl::MakeSpan(values)));
    return values;
  }

 private:
  Backend& backend_;
  int64_t rows_;
  std::unique_ptr<DeviceTensor> tensor_;
};

// Linear of [tokens, cols] by a weight of [rows, cols]. What is added to instead of written is NaN.
inline std::vector<float> RunLinear(Backend& backend, const PackedWeight& weight,
                                    const std::vector<float>& in, int64_t tokens) {
  Activations x(backend, {tokens, weight.shape()[1]}, in);
  Activations y(backend, {tokens, weight.shape()[0]}, std::numeric_limits<float>::quiet_NaN());
  CHECK_OK(backend.Linear({.in = x.view(), .weight = &weight, .out = y.view()}));
  return y.Read();
}

// Packs a copy of `values`, kept alive by the weight.
inline WeightPtr PackFloats(Backend& backend, const Shape& shape, const std::vector<float>& values,
                            WeightRole role) {
  auto owner = std::make_shared<std::vector<float>>(values);
  auto weight =
      backend.Pack({.view = {owner->data(), DType::kF32, shape}, .owner = owner, .role = role});
  CHECK_OK(weight.status());
  return std::move(weight).value();
}

// Bytes of a row of a type whose scales are small finite numbers, so that sums stay finite; every
// other bit is random.
std::vector<uint8_t> RandomRows(Random& random, DType dtype, int64_t elements);

// One sequence's part of a step.
struct Part {
  int first_position = 0;
  int tokens = 1;
  std::vector<PageId> pages;  // at least as many as needed
};

inline RaggedBatch MakeBatch(const std::vector<Part>& parts) {
  RaggedBatch batch;
  batch.sequence_starts.push_back(0);
  batch.page_starts.push_back(0);
  for (const Part& part : parts) {
    for (int i = 0; i < part.tokens; ++i) {
      batch.token_ids.push_back(0);
      batch.positions.push_back(part.first_position + i);
    }
    batch.pages.insert(batch.pages.end(), part.pages.begin(), part.pages.end());
    batch.sequence_starts.push_back(batch.tokens());
    batch.page_starts.push_back(static_cast<int>(batch.pages.size()));
  }
  return batch;
}

}  // namespace transmla

#endif  // TRANSMLA_TESTS_ENGINE_BACKEND_BACKEND_FIXTURE_H_
