// The CUDA backend's Linear beside bare cuBLAS on the shapes of 8B models.
//
// The peer is one cublasGemmEx of BF16 weights and activations into BF16, of the step's own size
// and whatever kernel cuBLAS likes best: what batch invariance (tiles of kTokenTile tokens, sums in
// F32, a pass that rounds them) costs is the ratio. GB/s counts the weight's bytes once a call.
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include "engine/backend/cuda/create.h"
#include "engine/backend/cuda/device_buffer.h"
#include "engine/backend/cuda/status.h"
#include "engine/base/check.h"

namespace transmla {
namespace {

// Calls between two waits for the device: what one wait costs does not show.
constexpr int kCallsAtOnce = 64;
// The weights of one case cycle through more than the second-level cache (50 MB on an H100) holds.
constexpr int64_t kCycledBytes = int64_t{256} << 20;

int64_t Copies(int64_t weight_bytes) { return std::max<int64_t>(1, kCycledBytes / weight_bytes); }

void Count(benchmark::State& state, int64_t tokens, int64_t rows, int64_t k) {
  const double calls = kCallsAtOnce;
  state.counters["us"] = benchmark::Counter(
      calls * 1e-6, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
  state.counters["TFLOP/s"] =
      benchmark::Counter(calls * 2e-12 * static_cast<double>(tokens * rows * k),
                         benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] = benchmark::Counter(calls * 2e-9 * static_cast<double>(rows * k),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

void BM_Linear(benchmark::State& state, int64_t rows, int64_t k) {
  const int64_t tokens = state.range(0);
  auto created = CreateCudaBackend({});
  if (!created.ok()) return state.SkipWithError(created.status().ToString().c_str());
  Backend& backend = **created;
  CHECK_OK(backend.Prepare({.max_tokens = static_cast<int>(tokens),
                            .max_sequences = 1,
                            .max_logit_tokens = 1,
                            .max_context_tokens = 1}));
  const std::vector<uint16_t> bits(rows * k, 0x3C3C);
  std::vector<WeightPtr> weights;
  for (int64_t i = 0; i < Copies(2 * rows * k); ++i) {
    auto weight =
        backend.Pack({.view = {bits.data(), DType::kBF16, {rows, k}}, .role = WeightRole::kLinear});
    CHECK_OK(weight.status());
    weights.push_back(std::move(weight).value());
  }
  auto in = backend.NewTensor({tokens, k});
  auto out = backend.NewTensor({tokens, rows});
  CHECK_OK(in.status());
  CHECK_OK(out.status());
  std::vector<float> one_row(rows);
  size_t next = 0;
  for (auto _ : state) {
    for (int i = 0; i < kCallsAtOnce; ++i) {
      CHECK_OK(backend.Linear({.in = (*in)->Rows(tokens),
                               .weight = weights[next++ % weights.size()].get(),
                               .out = (*out)->Rows(tokens)}));
    }
    CHECK_OK(backend.Read((*out)->Rows(1), absl::MakeSpan(one_row)));  // waits
  }
  Count(state, tokens, rows, k);
}

void BM_Cublas(benchmark::State& state, int64_t rows, int64_t k) {
  const int64_t tokens = state.range(0);
  cublasHandle_t cublas = nullptr;
  if (const absl::Status made = cuda::ToStatus(cublasCreate(&cublas), "cublasCreate"); !made.ok())
    return state.SkipWithError(made.ToString().c_str());
  std::vector<cuda::DeviceBuffer> weights;
  const auto filled = [](int64_t elements) {
    auto buffer = cuda::DeviceBuffer::Create(2 * elements);
    CHECK_OK(buffer.status());
    CHECK_OK(cuda::ToStatus(cudaMemset(buffer->data(), 0x3C, 2 * elements), "cudaMemset"));
    return std::move(buffer).value();
  };
  for (int64_t i = 0; i < Copies(2 * rows * k); ++i) weights.push_back(filled(rows * k));
  const cuda::DeviceBuffer in = filled(tokens * k), out = filled(tokens * rows);
  const float one = 1, zero = 0;
  size_t next = 0;
  for (auto _ : state) {
    for (int i = 0; i < kCallsAtOnce; ++i) {
      const void* weight = weights[next++ % weights.size()].data();
      CHECK_OK(cuda::ToStatus(
          cublasGemmEx_64(cublas, CUBLAS_OP_T, CUBLAS_OP_N, rows, tokens, k, &one, weight,
                          CUDA_R_16BF, k, in.data(), CUDA_R_16BF, k, &zero, out.data(), CUDA_R_16BF,
                          rows, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
          "cublasGemmEx"));
    }
    CHECK_OK(cuda::ToStatus(cudaDeviceSynchronize(), "cudaDeviceSynchronize"));
  }
  Count(state, tokens, rows, k);
  CHECK_OK(cuda::ToStatus(cublasDestroy(cublas), "cublasDestroy"));
}

#define SHAPE(name, rows, k)                  \
  BENCHMARK_CAPTURE(BM_Linear, name, rows, k) \
      ->ArgName("tokens")                     \
      ->RangeMultiplier(8)                    \
      ->Range(1, 4096)                        \
      ->UseRealTime();                        \
  BENCHMARK_CAPTURE(BM_Cublas, name, rows, k) \
      ->ArgName("tokens")                     \
      ->RangeMultiplier(8)                    \
      ->Range(1, 4096)                        \
      ->UseRealTime()

// Llama-3-8B: hidden 4096, intermediate 14336.
SHAPE(llama3_8b_query, 4096, 4096);
SHAPE(llama3_8b_gate, 14336, 4096);
SHAPE(llama3_8b_down, 4096, 14336);
// Its latent attention at half the cache: [latent; rope key] of one token.
SHAPE(llama3_8b_latent, 1024, 4096);

}  // namespace
}  // namespace transmla
