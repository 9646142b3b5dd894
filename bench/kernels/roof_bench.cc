// The machine's roofs: reads, from the last-level cache and from memory, and products in registers.
// bench/roofline prints what share of them our own kernels reach.
//
// GB/s counts each byte once a pass. GOP/s counts a multiply-add as two.
#include <algorithm>
#include <numeric>
#include <vector>

#include "benchmark/benchmark.h"

#include "bench/kernels/roof_kernels.h"
#include "engine/base/cpu_info.h"
#include "engine/base/thread_pool.h"

namespace transmla {
namespace {

uint64_t SumWords(const uint64_t* words, int64_t count) {
  return std::accumulate(words, words + count, uint64_t{0});
}

// A quarter of the last-level cache: far more than the caches before it hold, and not so much that
// what else runs pushes it out.
int64_t CachedMebibytes() {
  constexpr int64_t kUnknown = 8;
  int64_t bytes = kUnknown << 22;
  int level = 2;
  for (const auto& cache : benchmark::CPUInfo::Get().caches) {
    if (cache.level > level) {
      level = cache.level;
      bytes = cache.size;
    }
  }
  return std::max<int64_t>(1, bytes >> 22);
}

void BM_Read(benchmark::State& state) {
  constexpr int64_t kPart = int64_t{1} << 15;
  const CpuInfo& cpu = GetCpuInfo();
  const auto sum = cpu.avx512 ? SumWordsAvx512 : cpu.avx2 ? SumWordsAvx2 : SumWords;
  const std::vector<uint64_t> words(state.range(0) << 17, 1);
  const auto parts = static_cast<int64_t>(words.size()) / kPart;
  std::vector<uint64_t> sums(parts);
  ThreadPool pool(static_cast<int>(state.range(1)));
  for (auto _ : state) {
    pool.ParallelFor(
        parts, [&](int64_t part, int) { sums[part] = sum(words.data() + part * kPart, kPart); });
    benchmark::DoNotOptimize(sums.data());
    benchmark::ClobberMemory();
  }
  state.counters["GB/s"] =
      benchmark::Counter(1e-9 * static_cast<double>(words.size() * sizeof(uint64_t)),
                         benchmark::Counter::kIsIterationInvariantRate);
}
// 96 MiB: what a step of a small model reads.
BENCHMARK(BM_Read)
    ->ArgNames({"MiB", "threads"})
    ->ArgsProduct({{CachedMebibytes(), 96, 512}, {1, GetCpuInfo().usable_cores}})
    ->UseRealTime();

// `lanes`: multiply-adds of a chain in a turn.
void BM_Products(benchmark::State& state, bool CpuInfo::*has, float (*multiply)(int64_t),
                 int lanes) {
  constexpr int64_t kRounds = 1 << 12;  // of a task, some tens of microseconds
  constexpr int64_t kTasks = 16;        // of a thread, so that one that is late does less
  if (!(GetCpuInfo().*has)) {
    state.SkipWithError("this processor lacks the instructions");
    return;
  }
  const int64_t tasks = kTasks * state.range(0);
  ThreadPool pool(static_cast<int>(state.range(0)));
  std::vector<float> results(tasks);
  for (auto _ : state) {
    pool.ParallelFor(tasks, [&](int64_t task, int) { results[task] = multiply(kRounds); });
    benchmark::DoNotOptimize(results.data());
    benchmark::ClobberMemory();
  }
  state.counters["GOP/s"] = benchmark::Counter(
      2e-9 * static_cast<double>(tasks * kRounds * kRoofTurns * kRoofChains * lanes),
      benchmark::Counter::kIsIterationInvariantRate);
}

#define PRODUCTS(name, has, multiply, lanes)                           \
  BENCHMARK_CAPTURE(BM_Products, name, &CpuInfo::has, multiply, lanes) \
      ->ArgName("threads")                                             \
      ->Arg(1)                                                         \
      ->Arg(GetCpuInfo().usable_cores)                                 \
      ->UseRealTime()

PRODUCTS(f32_avx2, avx2, MultiplyF32Avx2, 8);
PRODUCTS(f32_avx512, avx512, MultiplyF32Avx512, 16);
PRODUCTS(i8_avx2, avx2, MultiplyI8Avx2, 32);
PRODUCTS(i8_avx512vnni, avx512_vnni, MultiplyI8Avx512Vnni, 64);
PRODUCTS(i8_amx, amx_int8, MultiplyI8Amx, 16 * 16 * 64);
PRODUCTS(bf16_avx512, avx512_bf16, MultiplyBF16Avx512, 32);
PRODUCTS(bf16_amx, amx_bf16, MultiplyBF16Amx, 16 * 16 * 32);

}  // namespace
}  // namespace transmla
