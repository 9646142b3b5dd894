#include "server/best_of.h"

#include <algorithm>
#include <utility>

namespace transmla {

void BestOf::OnTokens(int index, TokenEvent event) {
  absl::MutexLock lock(&mutex_);
  Candidate& candidate = candidates_[static_cast<size_t>(index)];
  for (const TokenInfo& token : event.tokens) {
    candidate.logprob_sum += token.logprob;
    ++candidate.tokens;
  }
  candidate.events.push_back(std::move(event));
}

void BestOf::OnFinished(int index, FinishedEvent event) {
  std::vector<Candidate> best;
  {
    absl::MutexLock lock(&mutex_);
    Candidate& candidate = candidates_[static_cast<size_t>(index)];
    candidate.finished = std::move(event);
    if (++done_ < static_cast<int>(candidates_.size())) return;
    best = std::move(candidates_);
  }
  std::stable_sort(best.begin(), best.end(),
                   [](const Candidate& a, const Candidate& b) { return a.mean() > b.mean(); });
  best.resize(static_cast<size_t>(returned_));
  deliver_(std::move(best));
}

}  // namespace transmla
