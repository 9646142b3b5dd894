// The rows of one panel (panel_format.h) in an AVX register, for panel_dot_vnni_inl.h, on
// processors that have AVX's own VNNI and no AVX-512. Included by panels_avxvnni.cc alone.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVXVNNI_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVXVNNI_H_

#include <immintrin.h>

#include "engine/backend/cpu/lanes_avx2.h"

namespace transmla::cpu {
namespace {

struct VnniLanes : Lanes {
  // sum + Σ of four neighbouring products of unsigned with signed bytes, in each 32 bits.
  static I AddProducts(I sum, I u8, I s8) { return _mm256_dpbusd_avx_epi32(sum, u8, s8); }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_LANES_AVXVNNI_H_
