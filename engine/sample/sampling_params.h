// SamplingParams: how the next token is drawn from logits, and when a generation ends.
#ifndef TRANSMLA_ENGINE_SAMPLE_SAMPLING_PARAMS_H_
#define TRANSMLA_ENGINE_SAMPLE_SAMPLING_PARAMS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace transmla {

// logit_rules.h changes the logits first; then filters apply in this order: temperature, top-k,
// top-p, min-p, typical-p, each to the distribution that the one before left. The draw for position
// p of a sequence depends on its logits, its own tokens, `seed` and p, never on what else runs.
struct SamplingParams {
  float temperature = 1.0f;  // 0: greedy, the first of the largest logits; at most 100
  int top_k = 0;             // keep the k most likely tokens; 0: all
  float top_p =
      1.0f;  // keep the least set of most likely tokens whose probability reaches this, (0, 1]
  float min_p = 0.0f;  // drop tokens less likely than this times the most likely one, [0, 1]
  // Locally typical sampling (arXiv 2202.00666, section 4): keep the tokens whose information is
  // nearest to the entropy, until their probability reaches this, (0, 1].
  float typical_p = 1.0f;
  float repetition_penalty = 1.0f;  // [0.01, 10]; above 1: what was there is less likely
  float presence_penalty = 0.0f;    // [-2, 2], of tokens that were generated
  float frequency_penalty = 0.0f;   // [-2, 2], for each time that a token was generated
  std::vector<std::pair<int32_t, float>> logit_bias;  // token, [-100, 100]; at most 1024
  std::vector<int32_t> allowed_tokens;                // no others are drawn; empty: all
  uint64_t seed = 0;
};

// Whether a draw depends on the tokens before it.
inline bool HasPenalties(const SamplingParams& sampling) {
  return sampling.repetition_penalty != 1 || sampling.presence_penalty != 0 ||
         sampling.frequency_penalty != 0;
}

struct StopParams {
  int max_tokens = 0;  // generated tokens, at least 1; 0: up to the model's context
  int min_tokens = 0;  // end-of-generation tokens are not drawn before that many
  std::vector<std::string>
      stop_strings;  // end the text before the one complete first; at most 16 of at most 256 bytes
  std::vector<int32_t> stop_token_ids;  // end like the model's own end tokens
  bool ignore_eos = false;              // the model's end tokens are ordinary tokens
  bool include_stop = false;            // the matched stop string is part of the text
};

// InvalidArgument naming field, value and range. NaN is out of every range.
absl::Status Validate(const SamplingParams& sampling);
absl::Status Validate(const StopParams& stop);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SAMPLE_SAMPLING_PARAMS_H_
