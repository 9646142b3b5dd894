#include "engine/convert/ratio_trial.h"

#include "absl/strings/str_format.h"

namespace transmla {
namespace {

constexpr int kParts = 16;

}  // namespace

absl::StatusOr<double> ChooseRatio(double share, const RatioTrial& trial,
                                   std::vector<RatioReport>* tried) {
  // Sixteenths; `enough` is known to do, `least` - 1 not to.
  int least = 1, enough = kParts;
  double smallest_rise = 0;
  while (least < enough) {
    // The largest first: if it is too small, that is the answer.
    const int part = enough == kParts ? kParts - 1 : (least + enough) / 2;
    const absl::StatusOr<RatioReport> report = trial(static_cast<double>(part) / kParts);
    bool does = false;
    if (report.ok()) {
      const QualityReport& quality = report->quality;
      const double rise = quality.perplexity_after / quality.perplexity_before - 1;
      if (part == kParts - 1) smallest_rise = rise;
      does = rise <= share;
      tried->push_back(*report);
    } else if (!absl::IsInvalidArgument(report.status()) || part == kParts - 1) {
      return report.status();
    }
    if (does) {
      enough = part;
    } else if (part == kParts - 1) {
      return absl::FailedPreconditionError(absl::StrFormat(
          "perplexity rises by %.2f %% even at %d/%d of the cache, more than the %.2f %% of "
          "max_perplexity_increase; allow more, calibrate on more text, or take recipe equivalent",
          100 * smallest_rise, kParts - 1, kParts, 100 * share));
    } else {
      least = part + 1;
    }
  }
  return static_cast<double>(enough) / kParts;
}

}  // namespace transmla
