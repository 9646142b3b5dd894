// Sampler draws the next token from logits.
//
// The draw for a position depends on the logits, the parameters, the tokens before it, the seed and
// the position alone.
#ifndef TRANSMLA_ENGINE_SAMPLE_SAMPLER_H_
#define TRANSMLA_ENGINE_SAMPLE_SAMPLER_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/grammar/token_trie.h"
#include "engine/sample/sampling_params.h"
#include "engine/sample/token_history.h"

namespace transmla {

struct SampleRequest {
  SamplingParams sampling;
  int64_t position = 0;                 // of the token to draw, in its sequence
  absl::Span<const int32_t> forbidden;  // tokens that must not be drawn
  // If not null, only its tokens, and those of beside_constraint, may be drawn. Not owned.
  const TokenMask* constraint = nullptr;
  absl::Span<const int32_t> beside_constraint;
  const TokenMask* not_banned = nullptr;  // likewise
  absl::Span<const int32_t> beside_banned;
  const TokenHistory* history = nullptr;  // of the sequence, for penalties; not owned
  int logprobs = -1;                      // -1: none; k: of the token and of the k most likely
};

struct Sample {
  int32_t token = 0;
  float logprob = 0;  // natural logarithm, of the model's own distribution; 0 unless asked for
  std::vector<std::pair<int32_t, float>> top;  // token, log-probability; most likely first
};

// What the model says of `token`, whoever chose it, and of the `count` most likely. Internal as
// Draw.
absl::StatusOr<Sample> Describe(absl::Span<const float> logits, int32_t token, int count);

// Thread-compatible; keeps its working memory between calls.
class Sampler {
 public:
  // `logits` [vocab_size]. Internal if a logit is NaN or none is finite: the model or its weights
  // are broken. FailedPrecondition if the request's own rules leave no token.
  absl::StatusOr<Sample> Draw(absl::Span<const float> logits, const SampleRequest& request);

 private:
  struct Candidate {
    int32_t token;
    double weight;  // exp((logit - largest) / temperature)
  };
  int32_t DrawRandom(absl::Span<const float> logits, float largest, const SampleRequest& request);
  void KeepTopK(int k);
  void KeepTopP(double p);
  void KeepTypical(double p);

  std::vector<Candidate> candidates_;
  std::vector<float> ruled_;  // logits after the request's rules
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SAMPLE_SAMPLER_H_
