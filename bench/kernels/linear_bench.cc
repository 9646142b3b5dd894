// Linear over the weight types and shapes of small models; roof_bench.cc has the machine's roofs.
//
// GFLOP/s counts a multiply-add as two. GB/s counts the weight's own bytes once a call. The weights
// of one case cycle through more than the second-level cache holds, as a model's do.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"

#include "engine/backend/cpu/create.h"
#include "engine/base/check.h"
#include "engine/base/cpu_info.h"
#include "engine/base/random.h"
#include "engine/tensor/block_formats.h"
#include "engine/tensor/float_types.h"

namespace transmla {
namespace {

constexpr int64_t kCycledBytes = int64_t{96} << 20;

// Random bits with scales that keep sums finite: every half-precision number of these formats reads
// as a small value when its top byte does.
std::shared_ptr<std::vector<uint8_t>> RandomWeights(DType dtype, int64_t elements) {
  auto bytes = std::make_shared<std::vector<uint8_t>>(RowBytes(dtype, elements));
  Random random(1);
  for (uint8_t& byte : *bytes) byte = static_cast<uint8_t>(random() & 0x2F);
  return bytes;
}

void BM_Linear(benchmark::State& state, DType dtype, int64_t out_features, int64_t in_features) {
  const int64_t tokens = state.range(0);
  auto backend = CreateCpuBackend(
      {.threads = static_cast<int>(state.range(1)), .quantised_activations = state.range(2) != 0});
  CHECK_OK(backend.status());
  auto in = (*backend)->NewTensor({tokens, in_features});
  auto out = (*backend)->NewTensor({tokens, out_features});
  CHECK_OK(in.status());
  CHECK_OK(out.status());
  std::vector<float> values(tokens * in_features, 0.5f);
  CHECK_OK((*backend)->Write(values, (*in)->Rows(tokens)));
  const int64_t weight_bytes = out_features * RowBytes(dtype, in_features);
  std::vector<WeightPtr> weights;
  const int64_t copies = tokens > 16 ? 1 : std::max<int64_t>(1, kCycledBytes / weight_bytes);
  for (int64_t i = 0; i < copies; ++i) {
    auto bytes = RandomWeights(dtype, out_features * in_features);
    auto weight = (*backend)->Pack({.view = {bytes->data(), dtype, {out_features, in_features}},
                                    .owner = bytes,
                                    .role = WeightRole::kLinear});
    CHECK_OK(weight.status());
    weights.push_back(std::move(weight).value());
  }
  size_t next = 0;
  for (auto _ : state) {
    CHECK_OK((*backend)->Linear({.in = (*in)->Rows(tokens),
                                 .weight = weights[next++ % weights.size()].get(),
                                 .out = (*out)->Rows(tokens)}));
  }
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * static_cast<double>(tokens * out_features * in_features),
                         benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] = benchmark::Counter(1e-9 * static_cast<double>(weight_bytes),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

#define LINEAR(name, dtype, rows, cols)                                           \
  BENCHMARK_CAPTURE(BM_Linear, name, dtype, rows, cols)                           \
      ->ArgNames({"tokens", "threads", "quantised"})                              \
      ->ArgsProduct({{1, 4, 8, 16, 512}, {1, GetCpuInfo().usable_cores}, {0, 1}}) \
      ->UseRealTime()

// SmolLM2-135M: hidden 576, intermediate 1536, vocabulary 49152.
LINEAR(smollm2_gate_q4_1, DType::kQ4_1, 1536, 576);
LINEAR(smollm2_down_q4_1, DType::kQ4_1, 576, 1536);
LINEAR(smollm2_output_q8_0, DType::kQ8_0, 49152, 576);
// Qwen2.5-0.5B: hidden 896, intermediate 4864.
LINEAR(qwen_gate_q5_0, DType::kQ5_0, 4864, 896);
LINEAR(qwen_down_q4_k, DType::kQ4_K, 896, 4864);
LINEAR(qwen_down_q6_k, DType::kQ6_K, 896, 4864);
LINEAR(square_f32, DType::kF32, 1024, 1024);
LINEAR(square_bf16, DType::kBF16, 1024, 1024);
LINEAR(square_f16, DType::kF16, 1024, 1024);
LINEAR(square_q4_0, DType::kQ4_0, 1024, 1024);

}  // namespace
}  // namespace transmla
