#include "engine/convert/freq_fold.h"

#include "engine/base/status.h"

namespace transmla {

absl::StatusOr<FreqFoldChoice> ChooseFreqFold(
    int collapse, int pairs,
    const std::function<absl::StatusOr<double>(int freqfold)>& perplexity) {
  FreqFoldChoice best{collapse, 0};
  ASSIGN_OR_RETURN(best.perplexity, perplexity(collapse));
  for (int freqfold = 2 * collapse; freqfold <= pairs && pairs % freqfold == 0; freqfold *= 2) {
    ASSIGN_OR_RETURN(const double candidate, perplexity(freqfold));
    if (!(candidate < best.perplexity)) break;
    best = {freqfold, candidate};
  }
  return best;
}

}  // namespace transmla
