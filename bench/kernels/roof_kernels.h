// What a thread of this processor could do at best: reads and products without any overhead, for
// each instruction set a translation unit. A function must only be called where GetCpuInfo() names
// its set.
#ifndef TRANSMLA_BENCH_KERNELS_ROOF_KERNELS_H_
#define TRANSMLA_BENCH_KERNELS_ROOF_KERNELS_H_

#include <cstdint>

namespace transmla {

// The sum of `count` words. REQUIRES: count is a multiple of 64.
uint64_t SumWordsAvx2(const uint64_t* words, int64_t count);
uint64_t SumWordsAvx512(const uint64_t* words, int64_t count);

// `rounds` rounds of kRoofTurns turns of kRoofChains multiply-adds of registers, none of which
// waits for another of its turn. The result depends on all of them and means nothing. REQUIRES:
// rounds >= 1.
inline constexpr int kRoofChains = 10;  // latency times throughput, and few enough for 16 registers
inline constexpr int kRoofTurns = 4;    // makes the loop's own instructions few
float MultiplyF32Avx2(int64_t rounds);
float MultiplyF32Avx512(int64_t rounds);
// Bytes times bytes, added up in 32 bits: three instructions with AVX2, one with VNNI.
float MultiplyI8Avx2(int64_t rounds);
float MultiplyI8Avx512Vnni(int64_t rounds);
float MultiplyBF16Avx512(int64_t rounds);
// Whole tile registers of AMX.
float MultiplyI8Amx(int64_t rounds);
float MultiplyBF16Amx(int64_t rounds);

}  // namespace transmla

#endif  // TRANSMLA_BENCH_KERNELS_ROOF_KERNELS_H_
