#include "engine/backend/cpu/kernel_choice.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/base/checked_math.h"
#include "engine/base/page.h"

namespace transmla::cpu {
namespace {

// A page as latent attention of a small model has it.
class Page {
 public:
  // Time of one page's scores and sums.
  absl::Duration Time(const Kernels& kernels, const Clock& clock) {
    ScoresArgs scores;
    scores.q = floats_.data();
    scores.q_stride = kCols;
    scores.rows = kRows;
    scores.keys = {
        .dtype = DType::kBF16, .data = cache_.data(), .stride = 2 * kCols, .cols = kCols};
    scores.tokens = kPageTokens;
    scores.out = scores_.data();
    WeightedSumArgs sum;
    sum.p = floats_.data();
    sum.p_stride = kPageTokens;
    sum.rows = kRows;
    sum.end = kPageTokens;
    sum.v = scores.keys;
    sum.alpha = floats_.data();
    sum.o = sums_.data();
    sum.o_stride = kCols;
    const absl::Time begin = clock.Now();
    for (int i = 0; i < kPages; ++i) {
      kernels.scores(scores);
      kernels.weighted_sum(sum);
    }
    return clock.Now() - begin;
  }

 private:
  static constexpr int kRows = 9;
  static constexpr int kCols = 96;
  static constexpr int kPages = 8;

  std::vector<float> floats_ = std::vector<float>(kRows * kCols, 0.5f);
  std::vector<uint16_t> cache_ = std::vector<uint16_t>(kPageTokens * kCols, 0x3F00);  // 0.5
  std::vector<float> scores_ = std::vector<float>(kRows * kPageTokens);
  std::vector<float> sums_ = std::vector<float>(kRows * kCols);
};

// Panels of one task and tokens enough for every kernel to be at its best.
class PanelProduct {
 public:
  PanelProduct(const PanelKernels& kernels, DType dtype, int64_t k)
      : panels_(Lines(kRows / kPanelRows * PanelBytes(dtype, k))),
        tiles_(Lines(kTokens * TileTokenBytes(k))),
        scratch_(Lines(PanelScratchBytes(kRows, k))),
        out_(kRows * kTokens) {
    const std::vector<float> x(kernels.tile_tokens * k, 0.5f);
    for (int token = 0; token < kTokens; token += kernels.tile_tokens) {
      kernels.quantize_tile(x.data(), k, kernels.tile_tokens, k,
                            tiles_.data()->bytes + token * TileTokenBytes(k));
    }
    args_.dtype = dtype;
    args_.panels = panels_.data()->bytes;
    args_.panel_bytes = PanelBytes(dtype, k);
    args_.rows = kRows;
    args_.tiles = tiles_.data()->bytes;
    args_.tokens = kTokens;
    args_.k = k;
    args_.out = out_.data();
    args_.out_stride = kRows;
    args_.scratch = scratch_.data()->bytes;
  }

  absl::Duration Time(PanelDot dot, const Clock& clock) const {
    const absl::Time begin = clock.Now();
    dot(args_);
    return clock.Now() - begin;
  }

 private:
  static constexpr int kRows = 32;
  static constexpr int kTokens = 64;

  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  static std::vector<Line> Lines(int64_t bytes) {
    return std::vector<Line>(CeilDiv<int64_t>(bytes, sizeof(Line)));
  }

  std::vector<Line> panels_, tiles_, scratch_;
  std::vector<float> out_;
  PanelDotArgs args_;
};

// Whether `a` takes less time than `b`, each a function that runs once and tells how long it took:
// the best of several runs of each, in turn.
template <typename A, typename B>
bool Faster(A&& a, B&& b) {
  constexpr int kRuns = 8;
  absl::Duration best_a = absl::InfiniteDuration();
  absl::Duration best_b = absl::InfiniteDuration();
  for (int i = 0; i < kRuns; ++i) {
    best_a = std::min(best_a, a());
    best_b = std::min(best_b, b());
  }
  return best_a < best_b;
}

}  // namespace

bool AttendsFaster(const Kernels& a, const Kernels& b, const Clock& clock) {
  Page page;
  return Faster([&] { return page.Time(a, clock); }, [&] { return page.Time(b, clock); });
}

PanelDot PanelDotChoice::For(DType dtype, int64_t k) {
  if (kernels_.other_dot == nullptr) return kernels_.dot;
  PanelDot& dot = chosen_[{dtype, k}];
  if (dot == nullptr) {
    const PanelProduct product(kernels_, dtype, k);
    const bool other = Faster([&] { return product.Time(kernels_.other_dot, clock_); },
                              [&] { return product.Time(kernels_.dot, clock_); });
    dot = other ? kernels_.other_dot : kernels_.dot;
  }
  return dot;
}

}  // namespace transmla::cpu
