// What a request changes in the model's logits before a token is drawn from them.
#ifndef TRANSMLA_ENGINE_SAMPLE_LOGIT_RULES_H_
#define TRANSMLA_ENGINE_SAMPLE_LOGIT_RULES_H_

#include <vector>

#include "absl/types/span.h"

#include "engine/sample/sampler.h"

namespace transmla {

// Whether `request` leaves the logits as they are.
bool LeavesLogits(const SampleRequest& request);

// Copies `logits` [vocab_size] to `out` and changes them there, in this order:
// 1. logit_bias is added;
// 2. repetition_penalty r (CTRL, arXiv 1909.05858, section 4.1): of each token of the prompt and of
//    what was generated, a positive logit is divided by r, any other multiplied by it;
// 3. of each token that was generated n times, frequency_penalty · n + presence_penalty is
//    subtracted;
// 4. tokens that are not among allowed_tokens, those that the masks lack, and forbidden ones, get
//    minus infinity.
// Tokens outside the vocabulary are ignored.
void ApplyLogitRules(absl::Span<const float> logits, const SampleRequest& request,
                     std::vector<float>& out);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SAMPLE_LOGIT_RULES_H_
