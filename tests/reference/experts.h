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

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_EXPERTS_H_
