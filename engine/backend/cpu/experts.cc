#include "engine/backend/cpu/experts.h"

#include <algorithm>
#include <cmath>

#include "engine/backend/choose_experts.h"
#include "engine/backend/cpu/for_each_row.h"

namespace transmla::cpu {
namespace {

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

}  // namespace

void Route(CpuContext& context, const RouteArgs& args) {
  const int experts = static_cast<int>(args.logits.shape[1]);
  ForEachRow(context, args.logits.shape[0], experts, [&](int64_t t) {
    const float* logits = args.logits.as<float>() + t * experts;
    const absl::Span<int32_t> chosen = args.experts.subspan(t * args.top_k, args.top_k);
    ChooseExperts(logits, experts, args.top_k, chosen.data());
    WeighExperts(logits, experts, chosen, args.normalize, args.weights.data() + t * args.top_k);
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
