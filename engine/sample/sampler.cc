#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

#include "engine/base/random.h"
#include "engine/sample/logit_rules.h"

namespace transmla {
namespace {

// The first of the largest logits, or -1 if one is NaN or +infinity or none is finite.
int32_t ArgMax(absl::Span<const float> logits) {
  int32_t best = -1;
  float largest = -std::numeric_limits<float>::infinity();
  bool nan = false;
  for (size_t i = 0; i < logits.size(); ++i) {
    nan |= std::isnan(logits[i]);
    if (logits[i] > largest) {
      largest = logits[i];
      best = static_cast<int32_t>(i);
    }
  }
  return nan || !std::isfinite(largest) ? -1 : best;
}

void AddLogprobs(absl::Span<const float> logits, int count, Sample& sample) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  const double log_total = largest + std::log(sum);
  const auto logprob = [&](int32_t token) { return static_cast<float>(logits[token] - log_total); };
  sample.logprob = logprob(sample.token);
  const auto more_likely = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  std::vector<int32_t> top(std::min<size_t>(count, logits.size()));
  std::vector<int32_t> all(logits.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
  std::partial_sort_copy(all.begin(), all.end(), top.begin(), top.end(), more_likely);
  for (const int32_t token : top) sample.top.emplace_back(token, logprob(token));
}

}  // namespace

absl::StatusOr<Sample> Describe(absl::Span<const float> logits, int32_t token, int count) {
  if (ArgMax(logits) < 0) {
    return absl::InternalError("the model's logits of the prompt are not finite");
  }
  Sample sample{.token = token};
  AddLogprobs(logits, count, sample);
  return sample;
}

absl::StatusOr<Sample> Sampler::Draw(absl::Span<const float> logits, const SampleRequest& request) {
  int32_t best = ArgMax(logits);
  if (best < 0) {
    return absl::InternalError(
        absl::StrCat("the model's logits at position ", request.position, " are not finite"));
  }
  absl::Span<const float> ruled = logits;
  if (!LeavesLogits(request)) {
    ApplyLogitRules(logits, request, ruled_);
    ruled = ruled_;
    best = ArgMax(ruled);
    if (best < 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("no token may be drawn at position ", request.position,
                       ": the request forbids all that it allows"));
    }
  }
  Sample sample;
  sample.token = request.sampling.temperature == 0 ? best : DrawRandom(ruled, ruled[best], request);
  if (request.logprobs >= 0) AddLogprobs(logits, request.logprobs, sample);
  return sample;
}

int32_t Sampler::DrawRandom(absl::Span<const float> logits, float largest,
                            const SampleRequest& request) {
  const SamplingParams& sampling = request.sampling;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const double weight =
        std::exp((static_cast<double>(logits[i]) - largest) / sampling.temperature);
    if (weight > 0) candidates_.push_back({static_cast<int32_t>(i), weight});
  }
  if (sampling.top_k > 0) KeepTopK(sampling.top_k);
  if (sampling.top_p < 1) KeepTopP(sampling.top_p);
  if (sampling.min_p > 0) {
    // The most likely token has weight 1.
    std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < sampling.min_p; });
  }
  if (sampling.typical_p < 1) KeepTypical(sampling.typical_p);
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  double left =
      Random(sampling.seed).Split(static_cast<uint64_t>(request.position)).Uniform() * total;
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0) return candidate.token;
  }
  return candidates_.back().token;  // rounding of the sum
}

namespace {
constexpr auto kMoreLikely = [](const auto& a, const auto& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
};
}  // namespace

void Sampler::KeepTopK(int k) {
  if (k >= static_cast<int>(candidates_.size())) return;
  std::nth_element(candidates_.begin(), candidates_.begin() + k, candidates_.end(), kMoreLikely);
  candidates_.resize(k);
}

void Sampler::KeepTypical(double p) {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  double entropy = 0;
  for (const Candidate& candidate : candidates_) {
    const double share = candidate.weight / total;
    if (share > 0) entropy -= share * std::log(share);
  }
  const auto oddity = [&](const Candidate& c) {
    return std::abs(-std::log(c.weight / total) - entropy);
  };
  std::sort(candidates_.begin(), candidates_.end(), [&](const Candidate& a, const Candidate& b) {
    const double odd_a = oddity(a), odd_b = oddity(b);
    return odd_a != odd_b ? odd_a < odd_b : a.token < b.token;
  });
  double sum = 0;
  for (size_t kept = 0; kept < candidates_.size(); ++kept) {
    sum += candidates_[kept].weight;
    if (sum >= p * total) return candidates_.resize(kept + 1);
  }
}

void Sampler::KeepTopP(double p) {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  // Few tokens hold most of the probability: sort ever longer heads until one reaches p, never the
  // whole vocabulary first.
  double sum = 0;
  size_t done = 0;
  for (size_t head = std::min<size_t>(64, candidates_.size());;
       head = std::min(head * 4, candidates_.size())) {
    std::partial_sort(candidates_.begin() + done, candidates_.begin() + head, candidates_.end(),
                      kMoreLikely);
    for (; done < head; ++done) {
      sum += candidates_[done].weight;
      if (sum >= p * total) {
        candidates_.resize(done + 1);
        return;
      }
    }
    if (head == candidates_.size()) return;
  }
}

}  // namespace transmla
