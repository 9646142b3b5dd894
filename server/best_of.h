// BestOf holds the completions of a request back until all are done, and lets the best ones go.
#ifndef TRANSMLA_SERVER_BEST_OF_H_
#define TRANSMLA_SERVER_BEST_OF_H_

#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

#include "engine/serve/request.h"

namespace transmla {

// The best completion has the largest mean log-probability of its tokens; of equals, the first.
// Thread-safe.
class BestOf {
 public:
  struct Candidate {
    std::vector<TokenEvent> events;
    FinishedEvent finished;
    double logprob_sum = 0;
    int tokens = 0;

    double mean() const { return tokens > 0 ? logprob_sum / tokens : 0; }
  };
  // Called once, when all candidates are done, with the `returned` best, the best first.
  using Deliver = std::function<void(std::vector<Candidate>)>;

  // REQUIRES: 1 <= returned <= generated. Tokens must come with their log-probabilities.
  BestOf(int generated, int returned, Deliver deliver)
      : returned_(returned),
        deliver_(std::move(deliver)),
        candidates_(static_cast<size_t>(generated)) {}

  void OnTokens(int index, TokenEvent event);
  void OnFinished(int index, FinishedEvent event);

 private:
  const int returned_;
  const Deliver deliver_;
  absl::Mutex mutex_;
  std::vector<Candidate> candidates_ ABSL_GUARDED_BY(mutex_);
  int done_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_BEST_OF_H_
