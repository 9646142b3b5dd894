// Reference of the routing of tokens to experts.
#ifndef TRANSMLA_TESTS_REFERENCE_EXPERTS_H_
#define TRANSMLA_TESTS_REFERENCE_EXPERTS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace transmla::reference {

struct Routed {
  std::vector<int32_t> experts;  // [top_k]
  std::vector<double> weights;   // [top_k]
};

// Softmax, then the greatest probabilities, as the models' definitions put it; of equal logits the
// lower index.
inline Routed Route(const float* logits, int experts, int top_k, bool normalize) {
  std::vector<int32_t> order(experts);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  double all = 0;
  for (int e = 0; e < experts; ++e) all += std::exp(double{logits[e]} - logits[order[0]]);
  Routed routed;
  double sum = 0;
  for (int j = 0; j < top_k; ++j) {
    routed.experts.push_back(order[j]);
    routed.weights.push_back(std::exp(double{logits[order[j]]} - logits[order[0]]) / all);
    sum += routed.weights.back();
  }
  if (normalize) {
    for (double& weight : routed.weights) weight /= sum;
  }
  return routed;
}

// How DeepSeek's models choose: see op_args.h. `bias` is empty or [experts].
struct ScoredRule {
  bool sigmoid = false;
  std::vector<float> bias;
  int groups = 1;
  int top_groups = 1;
  int group_terms = 1;
  int top_k = 1;
  bool normalize = false;
};

// By sorting, in double.
inline Routed RouteByScore(const float* logits, int experts, const ScoredRule& rule) {
  std::vector<double> scores(experts), choice(experts);
  double all = 0;
  for (int e = 0; e < experts; ++e) all += std::exp(double{logits[e]});
  for (int e = 0; e < experts; ++e) {
    const double raised = std::exp(double{logits[e]});
    scores[e] = rule.sigmoid ? raised / (1 + raised) : raised / all;
    choice[e] = scores[e] + (rule.bias.empty() ? 0.0 : rule.bias[e]);
  }
  const auto descending = [](const std::vector<double>& values) {
    std::vector<int32_t> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return values[a] > values[b]; });
    return order;
  };
  const int size = experts / rule.groups;
  std::vector<double> sums(rule.groups);
  for (int g = 0; g < rule.groups; ++g) {
    std::vector<double> group(choice.begin() + g * size, choice.begin() + (g + 1) * size);
    std::sort(group.rbegin(), group.rend());
    sums[g] = std::accumulate(group.begin(), group.begin() + rule.group_terms, 0.0);
  }
  std::vector<bool> open(rule.groups);
  const std::vector<int32_t> best = descending(sums);
  for (int i = 0; i < rule.top_groups; ++i) open[best[i]] = true;
  Routed routed;
  for (const int32_t e : descending(choice)) {
    if (open[e / size] && static_cast<int>(routed.experts.size()) < rule.top_k) {
      routed.experts.push_back(e);
      routed.weights.push_back(scores[e]);
    }
  }
  const double sum = std::accumulate(routed.weights.begin(), routed.weights.end(), 0.0);
  for (double& weight : routed.weights) weight /= rule.normalize ? sum : 1.0;
  return routed;
}

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_EXPERTS_H_
