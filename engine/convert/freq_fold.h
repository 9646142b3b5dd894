// The search for `freqfold`: how many neighbouring frequencies are folded into one (FreqFold, arXiv
// 2502.07864).
#ifndef TRANSMLA_ENGINE_CONVERT_FREQ_FOLD_H_
#define TRANSMLA_ENGINE_CONVERT_FREQ_FOLD_H_

#include <functional>

#include "absl/status/statusor.h"

namespace transmla {

struct FreqFoldChoice {
  int freqfold = 0;
  double perplexity = 0;  // of the model with partial RoPE at that freqfold
};

// The published search: from `collapse` (the least possible) upwards, doubling as long as
// `perplexity(freqfold)` falls and freqfold divides `pairs` (= head_dim / 2). The first that is not
// better ends it.
absl::StatusOr<FreqFoldChoice> ChooseFreqFold(
    int collapse, int pairs, const std::function<absl::StatusOr<double>(int freqfold)>& perplexity);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_FREQ_FOLD_H_
