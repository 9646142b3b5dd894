#include "engine/sample/logit_rules.h"

#include <limits>

namespace transmla {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

float Penalised(float logit, int generated, const SamplingParams& sampling) {
  const float r = sampling.repetition_penalty;
  if (r != 1) logit = logit > 0 ? logit / r : logit * r;
  if (generated > 0) {
    logit -= sampling.frequency_penalty * static_cast<float>(generated) + sampling.presence_penalty;
  }
  return logit;
}

}  // namespace

bool LeavesLogits(const SampleRequest& request) {
  const SamplingParams& sampling = request.sampling;
  return request.forbidden.empty() && sampling.logit_bias.empty() &&
         sampling.allowed_tokens.empty() && !(request.history != nullptr && HasPenalties(sampling));
}

void ApplyLogitRules(absl::Span<const float> logits, const SampleRequest& request,
                     std::vector<float>& out) {
  const SamplingParams& sampling = request.sampling;
  const auto known = [&logits](int32_t token) {
    return token >= 0 && token < static_cast<int64_t>(logits.size());
  };
  out.assign(logits.begin(), logits.end());
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (known(token)) out[token] += bias;
  }
  if (request.history != nullptr && HasPenalties(sampling)) {
    for (const auto& [token, generated] : request.history->generated()) {
      if (known(token)) out[token] = Penalised(out[token], generated, sampling);
    }
  }
  if (!sampling.allowed_tokens.empty()) {
    std::vector<float> allowed(out.size(), kForbidden);
    for (const int32_t token : sampling.allowed_tokens) {
      if (known(token)) allowed[token] = out[token];
    }
    out.swap(allowed);
  }
  for (const int32_t token : request.forbidden) {
    if (known(token)) out[token] = kForbidden;
  }
}

}  // namespace transmla
