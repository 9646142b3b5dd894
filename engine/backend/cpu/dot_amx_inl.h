// Dots with BF16 rows in the tile registers of AMX. Included, after vec_avx512.h, kernels_inl.h and
// bf16_tiles_inl.h, by the translation unit of AMX and by that of its test; Tiles is AmxTiles or
// its emulation.
//
// Activations are rounded to BF16, as the weights are already; a sum adds 32 columns at a time, in
// the order of AmxTiles::MultiplyBf16, and does not depend on the tile that it was computed in.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_DOT_AMX_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_DOT_AMX_INL_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/bf16_tiles_inl.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kernels_inl.h"

namespace transmla::cpu {
namespace {

// Sums of weights' rows, up to two groups of 16, with tokens, up to two groups of 16.
template <typename Tiles>
class TileDots {
 public:
  explicit TileDots(const DotArgs& a) : a_(a), steps_((a.k + kPairElements - 1) / kPairElements) {}

  void Run() {
    const int token_groups = (a_.tokens + kAmxRows - 1) / kAmxRows;
    const int row_groups = (a_.rows + kAmxRows - 1) / kAmxRows;
    int row = 0;
    for (; row + 2 <= row_groups; row += 2) RunTokens<2>(row, token_groups);
    if (row < row_groups) RunTokens<1>(row, token_groups);
  }

 private:
  // Registers: sums first, then weights, then tokens.
  static constexpr int kMostSums = 4;
  static constexpr int kWeights = kMostSums;
  static constexpr int kTokens = kWeights + 2;

  template <int kRows>
  void RunTokens(int row, int groups) {
    int token = 0;
    for (; token + 2 <= groups; token += 2) Multiply<kRows, 2>(row, token);
    if (token < groups) Multiply<kRows, 1>(row, token);
  }

  template <int kRows, int kGroups>
  void Multiply(int row_group, int token_group) {
    ForEach<kRows * kGroups>([](auto i) { Tiles::template Zero<decltype(i)::value>(); });
    const uint8_t* tokens =
        static_cast<const uint8_t*>(a_.packed) + token_group * steps_ * kAmxTileBytes;
    for (int64_t step = 0; step < steps_; ++step) {
      ForEach<kGroups>([&](auto g) {
        constexpr int kGroup = decltype(g)::value;
        Tiles::template Load<kTokens + kGroup>(tokens + (kGroup * steps_ + step) * kAmxTileBytes,
                                               kAmxRowBytes);
      });
      ForEach<kRows>([&](auto r) {
        constexpr int kRow = decltype(r)::value;
        LoadWeights<kWeights + kRow>((row_group + kRow) * kAmxRows, step, token_group == 0);
        ForEach<kGroups>([&](auto g) {
          constexpr int kGroup = decltype(g)::value;
          Tiles::template MultiplyBf16<kRow * kGroups + kGroup, kWeights + kRow,
                                       kTokens + kGroup>();
        });
      });
    }
    ForEach<kRows * kGroups>([&](auto i) {
      constexpr int kSum = decltype(i)::value;
      Tiles::template Store<kSum>(sums_, kAmxRowBytes);
      Write((row_group + kSum / kGroups) * kAmxRows, (token_group + kSum % kGroups) * kAmxRows);
    });
  }

  // 32 columns of 16 rows; what lies behind the matrix or a row's end is not touched.
  template <int kTile>
  void LoadWeights(int row, int64_t step, bool fetch) {
    const uint8_t* from =
        static_cast<const uint8_t*>(a_.w) + row * a_.w_stride + step * kAmxRowBytes;
    const bool whole = row + kAmxRows <= a_.rows && (step + 1) * kPairElements <= a_.k;
    if (whole) {
      Tiles::template Load<kTile>(from, a_.w_stride);
    } else {
      const __mmask32 mask = FirstOf32(a_.k - step * kPairElements);
      for (int r = 0; r < kAmxRows; ++r) {
        _mm512_store_si512(padded_ + r * kAmxRowBytes,
                           row + r < a_.rows
                               ? _mm512_maskz_loadu_epi16(mask, from + r * a_.w_stride)
                               : _mm512_setzero_si512());
      }
      Tiles::template Load<kTile>(padded_, kAmxRowBytes);
    }
    // The same columns of the rows that come after these: too many streams for the processor to
    // follow by itself.
    if (!fetch) return;
    const uint8_t* next = from + 2 * kAmxRows * a_.w_stride;
    for (int r = 0; r < kAmxRows; ++r) __builtin_prefetch(next + r * a_.w_stride);
  }

  // `sums_`: [16 rows][16 tokens].
  void Write(int row, int token) const {
    Vec::F sums[kAmxRows];
#pragma GCC unroll 16
    for (int i = 0; i < kAmxRows; ++i) sums[i] = Vec::Load(sums_[i]);
    Vec::Transpose(sums);
    const int left = a_.rows - row;
    const __mmask16 mask = left < kAmxRows ? Vec::Mask(left) : static_cast<__mmask16>(~0u);
    const Vec::F bias =
        a_.bias == nullptr ? Vec::Zero() : _mm512_maskz_loadu_ps(mask, a_.bias + row);
    float* out = a_.out + token * a_.out_stride + row;
#pragma GCC unroll 16
    for (int t = 0; t < kAmxRows; ++t, out += a_.out_stride) {
      if (token + t == a_.tokens) return;
      Vec::F sum = sums[t];
      if (a_.bias != nullptr) sum = Vec::Add(sum, bias);
      if (a_.accumulate) sum = Vec::Add(_mm512_maskz_loadu_ps(mask, out), sum);
      _mm512_mask_storeu_ps(out, mask, sum);
    }
  }

  const DotArgs& a_;
  const int64_t steps_;
  alignas(64) uint8_t padded_[kAmxTileBytes];
  alignas(64) float sums_[kAmxRows][Vec::kWidth];
};

template <typename Tiles>
void DotInTiles(const DotArgs& a) {
  BeginTiles<Tiles>();
  TileDots<Tiles>(a).Run();
  Tiles::Release();
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_DOT_AMX_INL_H_
