// Attention over a BF16 cache in the tile registers of AMX. Included, after vec_avx512.h,
// attention_kernels_inl.h and bf16_pairs_inl.h, by the translation unit of AMX and by that of its
// test; Tiles is AmxTiles or its emulation.
//
// Queries and weights are rounded to BF16 as keys and values are in the cache; sums are 32-bit
// floats, in the order that a product of tiles has (AmxTiles::MultiplyBf16): a score's 32 columns
// at a time, ascending; of a sum of values 32 tokens at a time, a page's sum before it meets the
// sum so far. As in attention_kernels_inl.h that does not depend on the number of rows.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_AMX_INL_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_AMX_INL_H_

#include <cstdint>

#include <immintrin.h>

#include "engine/backend/cpu/attention_kernels_inl.h"
#include "engine/backend/cpu/bf16_pairs_inl.h"
#include "engine/backend/cpu/bf16_tiles_inl.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/tile_shapes.h"
#include "engine/base/page.h"

namespace transmla::cpu {
namespace {

// --- scores ---

// Scores of a page's keys, or of a part of their columns, with packed queries: 16 tokens by 16 rows
// a register.
template <typename Tiles>
class TileScores {
 public:
  TileScores(const ScoresArgs& a, const Segment& s)
      : a_(a), s_(s), steps_((s.cols + kPairElements - 1) / kPairElements) {
    PadLastColumns();
  }

  void Run() {
    const int tiles = (a_.tokens + kAmxRows - 1) / kAmxRows;
    const int groups = (a_.rows + kAmxRows - 1) / kAmxRows;
    int group = 0;
    for (; group + 2 <= groups; group += 2) {
      int tile = 0;
      for (; tile + 2 <= tiles; tile += 2) Multiply<2, 2>(tile, group);
      if (tile < tiles) Multiply<1, 2>(tile, group);
    }
    if (group == groups) return;
    int tile = 0;
    for (; tile + 4 <= tiles; tile += 4) Multiply<4, 1>(tile, group);
    for (; tile < tiles; ++tile) Multiply<1, 1>(tile, group);
  }

 private:
  // Registers: sums first, then one of keys, then queries.
  static constexpr int kMostSums = 4;
  static constexpr int kKeys = kMostSums;
  static constexpr int kQueries = kKeys + 1;

  // A register reads 32 columns; what lies behind the last ones may be anything, even NaN.
  void PadLastColumns() {
    const int rest = s_.cols % kPairElements;
    if (rest == 0) return;
    const int64_t byte = (s_.cols - rest) * Bf16Elements::kBytes;
    for (int token = 0; token < a_.tokens; ++token) {
      _mm512_store_si512(last_ + token * kAmxRowBytes,
                         _mm512_maskz_loadu_epi16(FirstOf32(rest), s_.Row(token) + byte));
    }
  }

  template <int kTiles, int kGroups>
  inline void Multiply(int tile, int group) {
    ForEach<kTiles * kGroups>([](auto i) { Tiles::template Zero<decltype(i)::value>(); });
    const uint8_t* queries =
        static_cast<const uint8_t*>(a_.packed) + int64_t{group} * steps_ * kAmxTileBytes;
    for (int step = 0; step < steps_; ++step) {
      const bool padded = (step + 1) * kPairElements > s_.cols;
      ForEach<kGroups>([&](auto g) {
        constexpr int kGroup = decltype(g)::value;
        Tiles::template Load<kQueries + kGroup>(queries + (kGroup * steps_ + step) * kAmxTileBytes,
                                                kAmxRowBytes);
      });
      ForEach<kTiles>([&](auto t) {
        constexpr int kTile = decltype(t)::value;
        const int token = (tile + kTile) * kAmxRows;
        if (padded) {
          Tiles::template Load<kKeys>(last_ + token * kAmxRowBytes, kAmxRowBytes);
        } else {
          Tiles::template Load<kKeys>(s_.Row(token) + step * kAmxRowBytes, s_.stride);
        }
        if (group == 0 && s_.next != s_.data) {
          for (int i = 0; i < kAmxRows; ++i) s_.Prefetch(token + i, step * kAmxRowBytes);
        }
        ForEach<kGroups>([&](auto g) {
          constexpr int kGroup = decltype(g)::value;
          Tiles::template MultiplyBf16<kTile * kGroups + kGroup, kKeys, kQueries + kGroup>();
        });
      });
    }
    ForEach<kTiles * kGroups>([&](auto i) {
      constexpr int kSum = decltype(i)::value;
      Tiles::template Store<kSum>(sums_[kSum], kAmxRowBytes);
    });
    for (int t = 0; t < kTiles; ++t) {
      for (int g = 0; g < kGroups; ++g) {
        Write(sums_[t * kGroups + g], (tile + t) * kAmxRows, (group + g) * kAmxRows);
      }
    }
  }

  // `sums`: [16 tokens][16 rows].
  void Write(const float (&sums)[kAmxRows][Vec::kWidth], int token, int row) const {
    Vec::F scores[kAmxRows];
#pragma GCC unroll 16
    for (int i = 0; i < kAmxRows; ++i) scores[i] = Vec::Load(sums[i]);
    Vec::Transpose(scores);
    const int rows = a_.rows - row < kAmxRows ? a_.rows - row : kAmxRows;
    float* out = a_.out + int64_t{row} * kPageTokens + token;
#pragma GCC unroll 16
    for (int r = 0; r < kAmxRows; ++r, out += kPageTokens) {
      if (r == rows) return;
      Vec::Store(out, a_.accumulate ? Vec::Add(Vec::Load(out), scores[r]) : scores[r]);
    }
  }

  const ScoresArgs& a_;
  const Segment& s_;
  const int steps_;
  alignas(64) uint8_t last_[kPageTokens * kAmxRowBytes];
  alignas(64) float sums_[kMostSums][kAmxRows][Vec::kWidth];
};

template <typename Tiles>
void ScoresInTiles(const ScoresArgs& a) {
  if (a.keys.dtype != DType::kBF16) return Scores(a);
  ForEachSegment(a.keys, [&](auto, const Segment& s, int) { TileScores<Tiles>(a, s).Run(); });
}

// --- sums of values ---

// Sums of the values of a page, 32 columns at a time.
template <typename Tiles>
class TileSums {
 public:
  TileSums(const WeightedSumArgs& a, const Segment& s)
      : a_(a),
        s_(s),
        first_step_(a.begin / kPairElements),
        steps_((a.end + kPairElements - 1) / kPairElements),
        groups_((a.rows + kAmxRows - 1) / kAmxRows) {}

  void Run() {
    for (int first = 0; first < groups_; first += kMostGroups) {
      const int groups = groups_ - first < kMostGroups ? groups_ - first : kMostGroups;
      RoundWeights(first * kAmxRows, groups * kAmxRows);
      for (int col = 0; col < s_.cols; col += kPairElements) {
        InterleaveValues(col, first == 0);
        LoadValues();
        for (int group = 0; group < groups; ++group) {
          Multiply(group);
          AddSums((first + group) * kAmxRows, col);
        }
      }
    }
  }

 private:
  static constexpr int kMostGroups = 4;
  static constexpr int kMostSteps = kPageTokens / kPairElements;
  static_assert(kMostSteps == 2);
  // Registers.
  static constexpr int kSums = 0;  // of the first and second half of the columns
  static constexpr int kWeights = 2;
  static constexpr int kValues = 4;  // [steps][halves]

  // Weights as [rows][tokens]; rows that there are none of are whatever they were.
  void RoundWeights(int row, int rows) {
    const uint64_t seen = SummedTokens(a_);
    for (int r = 0; r < rows && row + r < a_.rows; ++r) {
      for (int step = first_step_; step < steps_; ++step) {
        const int token = step * kPairElements;
        _mm512_store_si512(weights_[r] + step * kAmxRowBytes,
                           RoundPairs(a_.p + (row + r) * a_.p_stride + token,
                                      static_cast<__mmask32>(seen >> token)));
      }
    }
  }

  // Pairs of tokens side by side, columns in the order that interleaving the halves of two rows
  // leaves: quarters 0 and 2 of the columns first, then 1 and 3. Tokens that are not seen may hold
  // anything, even NaN, and become zeros.
  void InterleaveValues(int col, bool fetch) {
    const __mmask32 mask = FirstOf32(s_.cols - col);
    const int64_t byte = col * Bf16Elements::kBytes;
    const bool next = fetch && s_.next != s_.data;
    const auto load = [&](int token) __attribute__((always_inline)) {
      if (token < a_.begin || token >= a_.end) return _mm512_setzero_si512();
      if (next) s_.Prefetch(token, byte);
      return _mm512_maskz_loadu_epi16(mask, s_.Row(token) + byte);
    };
    for (int pair = first_step_ * kPairs; pair < steps_ * kPairs; ++pair) {
      const __m512i x = load(2 * pair);
      const __m512i y = load(2 * pair + 1);
      _mm512_store_si512(values_[0] + pair * kAmxRowBytes, _mm512_unpacklo_epi16(x, y));
      _mm512_store_si512(values_[1] + pair * kAmxRowBytes, _mm512_unpackhi_epi16(x, y));
    }
  }

  template <int kStep>
  void LoadValuesOf() {
    if (kStep < first_step_ || kStep >= steps_) return;
    Tiles::template Load<kValues + 2 * kStep>(values_[0] + kStep * kAmxTileBytes, kAmxRowBytes);
    Tiles::template Load<kValues + 2 * kStep + 1>(values_[1] + kStep * kAmxTileBytes, kAmxRowBytes);
  }
  void LoadValues() {
    LoadValuesOf<0>();
    LoadValuesOf<1>();
  }

  template <int kStep>
  void MultiplyStep(int group) {
    if (kStep < first_step_ || kStep >= steps_) return;
    Tiles::template Load<kWeights + kStep>(weights_[group * kAmxRows] + kStep * kAmxRowBytes,
                                           sizeof(weights_[0]));
    Tiles::template MultiplyBf16<kSums, kWeights + kStep, kValues + 2 * kStep>();
    Tiles::template MultiplyBf16<kSums + 1, kWeights + kStep, kValues + 2 * kStep + 1>();
  }
  void Multiply(int group) {
    Tiles::template Zero<kSums>();
    Tiles::template Zero<kSums + 1>();
    MultiplyStep<0>(group);
    MultiplyStep<1>(group);
    Tiles::template Store<kSums>(sums_[0], kAmxRowBytes);
    Tiles::template Store<kSums + 1>(sums_[1], kAmxRowBytes);
  }

  void AddSums(int row, int col) const {
    // Quarters of both halves in turn.
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    const __mmask32 mask = FirstOf32(s_.cols - col);
    const __mmask16 low = static_cast<__mmask16>(mask);
    const __mmask16 high = static_cast<__mmask16>(mask >> Vec::kWidth);
    const int rows = a_.rows - row < kAmxRows ? a_.rows - row : kAmxRows;
    for (int r = 0; r < rows; ++r) {
      float* o = a_.o + (row + r) * a_.o_stride + col;
      const Vec::F alpha = Vec::Set1(a_.alpha[row + r]);
      const Vec::F x = Vec::Load(sums_[0][r]);
      const Vec::F y = Vec::Load(sums_[1][r]);
      _mm512_mask_storeu_ps(
          o, low,
          Vec::Fma(_mm512_maskz_loadu_ps(low, o), alpha, _mm512_permutex2var_ps(x, first, y)));
      _mm512_mask_storeu_ps(o + Vec::kWidth, high,
                            Vec::Fma(_mm512_maskz_loadu_ps(high, o + Vec::kWidth), alpha,
                                     _mm512_permutex2var_ps(x, second, y)));
    }
  }

  const WeightedSumArgs& a_;
  const Segment& s_;
  const int first_step_;
  const int steps_;
  const int groups_;
  alignas(64) uint8_t weights_[kMostGroups * kAmxRows][kMostSteps * kAmxRowBytes];
  alignas(64) uint8_t values_[2][kMostSteps * kAmxTileBytes];
  alignas(64) float sums_[2][kAmxRows][Vec::kWidth];
};

template <typename Tiles>
void WeightedSumInTiles(const WeightedSumArgs& a) {
  if (a.v.dtype != DType::kBF16) return WeightedSum(a);
  ForEachSegment(a.v, [&](auto, const Segment& s, int) { TileSums<Tiles>(a, s).Run(); });
}

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ATTENTION_AMX_INL_H_
