#include "engine/sample/logit_rules.h"

#include <limits>
#include <utility>

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

// Forbids what `mask` lacks, but for tokens of `beside`.
void ApplyMask(const TokenMask& mask, absl::Span<const int32_t> beside, std::vector<float>& out) {
  std::vector<std::pair<int32_t, float>> kept;
  for (const int32_t token : beside) {
    if (token >= 0 && token < static_cast<int64_t>(out.size()))
      kept.emplace_back(token, out[token]);
  }
  for (size_t token = 0; token < out.size(); ++token) {
    if (!mask.Has(static_cast<int32_t>(token))) out[token] = kForbidden;
  }
  for (const auto& [token, logit] : kept) out[token] = logit;
}

}  // namespace

bool LeavesLogits(const SampleRequest& request) {
  const SamplingParams& sampling = request.sampling;
  return request.constraint == nullptr && request.not_banned == nullptr &&
         request.forbidden.empty() && sampling.logit_bias.empty() &&
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
  if (request.constraint != nullptr) {
    ApplyMask(*request.constraint, request.beside_constraint, out);
  }
  if (request.not_banned != nullptr) {
    ApplyMask(*request.not_banned, request.beside_banned, out);
  }
  for (const int32_t token : request.forbidden) {
    if (known(token)) out[token] = kForbidden;
  }
}

}  // namespace transmla
