#include "engine/backend/cpu/kernel_choice.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/time/time.h"

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

}  // namespace

bool AttendsFaster(const Kernels& a, const Kernels& b, const Clock& clock) {
  constexpr int kRuns = 8;
  Page page;
  absl::Duration time_a = absl::InfiniteDuration();
  absl::Duration time_b = absl::InfiniteDuration();
  for (int i = 0; i < kRuns; ++i) {
    time_a = std::min(time_a, page.Time(a, clock));
    time_b = std::min(time_b, page.Time(b, clock));
  }
  return time_a < time_b;
}

}  // namespace transmla::cpu
