#include "engine/backend/cpu/experts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/algorithm/container.h"
#include "absl/container/fixed_array.h"

#include "engine/backend/choose_experts.h"
#include "engine/backend/cpu/for_each_row.h"
#include "engine/backend/cpu/weight.h"

namespace transmla::cpu {
namespace {

// Scores of so many experts, the most that are published, need no allocation.
constexpr size_t kUsualExperts = 512;

// Softmax over the logits of a token, or over those chosen, at the chosen ones.
void WeighExperts(const float* logits, int experts, absl::Span<const int32_t> chosen,
                  bool normalize, float* weights) {
  const float greatest = logits[chosen[0]];
  float sum = 0;
  for (size_t j = 0; j < chosen.size(); ++j) {
    weights[j] = std::exp(logits[chosen[j]] - greatest);
    sum += weights[j];
  }
  if (!normalize) {
    sum = 0;
    for (int e = 0; e < experts; ++e) sum += std::exp(logits[e] - greatest);
  }
  for (size_t j = 0; j < chosen.size(); ++j) weights[j] /= sum;
}

// The scores of all experts.
void Score(ExpertScore kind, const float* logits, absl::Span<float> scores) {
  if (kind == ExpertScore::kSigmoid) {
    for (size_t e = 0; e < scores.size(); ++e) scores[e] = 1 / (1 + std::exp(-logits[e]));
    return;
  }
  const float greatest = *std::max_element(logits, logits + scores.size());
  float sum = 0;
  for (size_t e = 0; e < scores.size(); ++e) sum += scores[e] = std::exp(logits[e] - greatest);
  for (float& score : scores) score /= sum;
}

// Leaves nothing to choose in groups that are not.
void KeepTopGroups(const ExpertGroups& groups, absl::Span<float> scores) {
  const int size = static_cast<int>(scores.size()) / groups.count;
  absl::FixedArray<float, kUsualExperts> sums(groups.count);
  absl::FixedArray<int32_t, kUsualExperts> greatest(groups.num_terms), kept(groups.top);
  for (int g = 0; g < groups.count; ++g) {
    const float* group = scores.data() + g * size;
    ChooseExperts(group, size, groups.num_terms, greatest.data());
    sums[g] = 0;
    for (const int32_t e : greatest) sums[g] += group[e];
  }
  ChooseExperts(sums.data(), groups.count, groups.top, kept.data());
  for (int g = 0; g < groups.count; ++g) {
    if (absl::c_linear_search(kept, g)) continue;
    std::fill_n(scores.begin() + g * size, size, -std::numeric_limits<float>::infinity());
  }
}

// A token's experts where the greatest logits alone do not tell.
void RouteByScore(const float* logits, const RouteArgs& args, absl::Span<int32_t> chosen,
                  float* weights) {
  const int experts = static_cast<int>(args.logits.shape[1]);
  absl::FixedArray<float, kUsualExperts> scores(experts), choice(experts);
  Score(args.score, logits, absl::MakeSpan(scores));
  for (int e = 0; e < experts; ++e) {
    choice[e] = scores[e] + (args.bias == nullptr ? 0.0f : AsCpu(*args.bias).vector()[e]);
  }
  if (args.groups.count > 1) KeepTopGroups(args.groups, absl::MakeSpan(choice));
  ChooseExperts(choice.data(), experts, args.top_k, chosen.data());
  float sum = 0;
  for (size_t j = 0; j < chosen.size(); ++j) sum += weights[j] = scores[chosen[j]];
  for (size_t j = 0; args.normalize && j < chosen.size(); ++j) weights[j] /= sum;
}

}  // namespace

void Route(CpuContext& context, const RouteArgs& args) {
  const int experts = static_cast<int>(args.logits.shape[1]);
  ForEachRow(context, args.logits.shape[0], experts, [&](int64_t t) {
    const float* logits = args.logits.as<float>() + t * experts;
    const absl::Span<int32_t> chosen = args.experts.subspan(t * args.top_k, args.top_k);
    float* weights = args.weights.data() + t * args.top_k;
    if (args.score != ExpertScore::kSoftmax || args.bias != nullptr || args.groups.count > 1) {
      RouteByScore(logits, args, chosen, weights);
      return;
    }
    ChooseExperts(logits, experts, args.top_k, chosen.data());
    WeighExperts(logits, experts, chosen, args.normalize, weights);
  });
}

void GatherRows(CpuContext& context, const GatherRowsArgs& args) {
  const int64_t cols = args.in.shape[1];
  ForEachRow(context, args.out.shape[0], cols, [&](int64_t i) {
    std::copy_n(args.in.as<float>() + args.rows[i] * cols, cols, args.out.as<float>() + i * cols);
  });
}

void CombineRows(CpuContext& context, const CombineRowsArgs& args) {
  const int64_t cols = args.in.shape[1];
  ForEachRow(context, args.out.shape[0], args.terms * cols, [&](int64_t t) {
    float* out = args.out.as<float>() + t * cols;
    if (!args.accumulate) std::fill_n(out, cols, 0.0f);
    for (int64_t i = t * args.terms; i < (t + 1) * args.terms; ++i) {
      const float weight = args.weights[i];
      const float* in = args.in.as<float>() + args.rows[i] * cols;
      for (int64_t c = 0; c < cols; ++c) out[c] += weight * in[c];
    }
  });
}

}  // namespace transmla::cpu
