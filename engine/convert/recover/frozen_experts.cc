#include "engine/convert/recover/frozen_experts.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/backend/choose_experts.h"
#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/recover/row_math.h"
#include "engine/model/family.h"

namespace transmla {
namespace {

const TensorNames& Names() { return kTransMla.Names(CheckpointFormat::kSafetensors); }

GatedNames NamesOf(int layer, int expert) {
  return {ExpertName(Names().expert_gate, layer, expert),
          ExpertName(Names().expert_up, layer, expert),
          ExpertName(Names().expert_down, layer, expert)};
}

// Softmax over the logits of a token, all of them or those of `chosen` alone; 0 for the others.
std::vector<double> Shares(const float* logits, int experts, absl::Span<const int32_t> chosen,
                           bool chosen_alone) {
  std::vector<double> shares(experts);
  const double greatest = logits[chosen[0]];
  double sum = 0;
  for (int e = 0; e < experts; ++e) {
    if (chosen_alone && std::find(chosen.begin(), chosen.end(), e) == chosen.end()) continue;
    sum += shares[e] = std::exp(logits[e] - greatest);
  }
  for (double& share : shares) share /= sum;
  return shares;
}

void Route(const MoeSpec& moe, ExpertsTape* tape) {
  const int64_t tokens = tape->logits.rows();
  const int experts = moe.num_experts, top_k = moe.num_experts_per_tok;
  tape->experts.resize(tokens * top_k);
  tape->weights.resize(tokens * top_k);
  tape->by_expert.assign(experts, {});
  for (int64_t t = 0; t < tokens; ++t) {
    const absl::Span<int32_t> chosen =
        absl::MakeSpan(tape->experts).subspan(t * top_k, static_cast<size_t>(top_k));
    ChooseExperts(tape->logits.row(t), experts, top_k, chosen.data());
    const std::vector<double> shares =
        Shares(tape->logits.row(t), experts, chosen, moe.norm_topk_prob);
    for (int j = 0; j < top_k; ++j) {
      const auto route = static_cast<int32_t>(t * top_k + j);
      tape->weights[route] = static_cast<float>(shares[chosen[j]]);
      tape->by_expert[chosen[j]].routes.push_back(route);
    }
  }
}

// Rows of `in`, a row a token, for the tokens of `routes`.
FloatMatrix Gather(const FloatMatrix& in, const std::vector<int32_t>& routes, int top_k) {
  FloatMatrix rows(static_cast<int64_t>(routes.size()), in.cols());
  for (int64_t i = 0; i < rows.rows(); ++i)
    std::copy_n(in.row(routes[i] / top_k), in.cols(), rows.row(i));
  return rows;
}

void AddTo(float* to, const float* row, int64_t n, float weight) {
  for (int64_t j = 0; j < n; ++j) to[j] += weight * row[j];
}

// The gradient of the router's logits from those of the routes' weights: of the softmax whose
// shares at the chosen experts the weights are.
FloatMatrix LogitGradients(const MoeSpec& moe, const ExpertsTape& tape,
                           const std::vector<double>& weight_gradients) {
  const int experts = moe.num_experts, top_k = moe.num_experts_per_tok;
  FloatMatrix gradients(tape.logits.rows(), experts);
  for (int64_t t = 0; t < gradients.rows(); ++t) {
    const auto chosen =
        absl::MakeConstSpan(tape.experts).subspan(t * top_k, static_cast<size_t>(top_k));
    const std::vector<double> shares =
        Shares(tape.logits.row(t), experts, chosen, moe.norm_topk_prob);
    std::vector<double> slopes(experts);
    double mean = 0;
    for (int j = 0; j < top_k; ++j) {
      slopes[chosen[j]] = weight_gradients[t * top_k + j];
      mean += shares[chosen[j]] * weight_gradients[t * top_k + j];
    }
    for (int e = 0; e < experts; ++e)
      gradients.row(t)[e] = static_cast<float>(shares[e] * (slopes[e] - mean));
  }
  return gradients;
}

}  // namespace

absl::StatusOr<FloatMatrix> ExpertsForward(const FrozenModel& model, int layer,
                                           const FloatMatrix& in, ExpertsTape* tape) {
  const MoeSpec& moe = model.spec().moe;
  CHECK(moe.score == ExpertScore::kSoftmax && !moe.choice_bias && moe.groups.count <= 1);
  CHECK(moe.scaling == 1 && moe.shared_intermediate_size == 0);
  ASSIGN_OR_RETURN(tape->logits,
                   model.Multiply(in, LayerName(Names().router, layer), Transpose::kYes));
  Route(moe, tape);
  FloatMatrix out(in.rows(), in.cols());
  for (int e = 0; e < moe.num_experts; ++e) {
    ExpertsTape::Expert& expert = tape->by_expert[e];
    if (expert.routes.empty()) continue;
    ASSIGN_OR_RETURN(expert.out, GatedForward(model, NamesOf(layer, e),
                                              Gather(in, expert.routes, moe.num_experts_per_tok),
                                              &expert.gated));
    for (int64_t i = 0; i < expert.out.rows(); ++i)
      AddTo(out.row(expert.routes[i] / moe.num_experts_per_tok), expert.out.row(i), out.cols(),
            tape->weights[expert.routes[i]]);
  }
  return out;
}

absl::StatusOr<FloatMatrix> ExpertsBackward(const FrozenModel& model, int layer,
                                            const ExpertsTape& tape,
                                            const FloatMatrix& out_gradient) {
  const MoeSpec& moe = model.spec().moe;
  const int64_t width = out_gradient.cols();
  std::vector<double> weight_gradients(tape.experts.size());
  FloatMatrix result(out_gradient.rows(), width);
  for (int e = 0; e < moe.num_experts; ++e) {
    const ExpertsTape::Expert& expert = tape.by_expert[e];
    if (expert.routes.empty()) continue;
    FloatMatrix gradient = Gather(out_gradient, expert.routes, moe.num_experts_per_tok);
    for (int64_t i = 0; i < gradient.rows(); ++i) {
      const int32_t route = expert.routes[i];
      float* const row = gradient.row(i);
      weight_gradients[route] =
          RowSum(width, [&](int64_t j) { return row[j] * expert.out.row(i)[j]; });
      for (int64_t j = 0; j < width; ++j) row[j] *= tape.weights[route];
    }
    ASSIGN_OR_RETURN(const FloatMatrix in,
                     GatedBackward(model, NamesOf(layer, e), expert.gated, gradient));
    for (int64_t i = 0; i < in.rows(); ++i)
      AddTo(result.row(expert.routes[i] / moe.num_experts_per_tok), in.row(i), width, 1);
  }
  ASSIGN_OR_RETURN(const FloatMatrix through_router,
                   model.Multiply(LogitGradients(moe, tape, weight_gradients),
                                  LayerName(Names().router, layer), Transpose::kNo));
  for (int64_t t = 0; t < result.rows(); ++t) AddTo(result.row(t), through_router.row(t), width, 1);
  return result;
}

}  // namespace transmla
