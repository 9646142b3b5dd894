// Reference of softmax attention of one query over rows of keys and values, in double.
#ifndef TRANSMLA_TESTS_REFERENCE_ATTENTION_H_
#define TRANSMLA_TESTS_REFERENCE_ATTENTION_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace transmla::reference {

using Row = std::vector<double>;

struct AttentionResult {
  Row out;
  double tolerance = 0;  // on each element of what a float implementation returns
};

// Which rows are seen, and what scores go through before softmax.
struct AttentionRule {
  int begin = 0;  // rows [begin, end)
  int end = 0;
  double scale = 1;
  double soft_cap = 0;  // scores become cap · tanh(score / cap); 0: they stay
  // By how much of itself each weight may be rounded before it meets the values: the sum of the
  // weights' errors is at most as much of their sum.
  double weight_rounding = 0;
  // Where sums are integers': the weights of each `tile` rows, counted from row 0, each times the
  // greatest |value| of its row in a group of `group` columns, may be rounded to 255ths of the
  // greatest of these. 0: none are.
  int tile = 0;
  int group = 0;
};

// By how much a sum of values may be off whose weights are rounded as rule.tile says: half a step
// for each.
inline double StepError(const std::vector<double>& weights, const std::vector<Row>& values,
                        const AttentionRule& rule) {
  const int cols = static_cast<int>(values[rule.begin].size());
  std::vector<double> errors(cols, 0.0);
  for (int first = 0; first < cols; first += rule.group) {
    const int last = std::min(first + rule.group, cols);
    const auto greatest = [&](int j) {
      double most = 0;
      for (int c = first; c < last; ++c) most = std::max(most, std::abs(values[j][c]));
      return most;
    };
    for (int base = rule.begin / rule.tile * rule.tile; base < rule.end; base += rule.tile) {
      const int begin = std::max(base, rule.begin);
      const int end = std::min(base + rule.tile, rule.end);
      double step = 0;
      for (int j = begin; j < end; ++j) {
        step = std::max(step, weights[j - rule.begin] * greatest(j) / 255);
      }
      for (int j = begin; j < end; ++j) {
        const double most = greatest(j);
        for (int c = first; c < last && most > 0; ++c) {
          errors[c] += step / 2 * std::abs(values[j][c]) / most;
        }
      }
    }
  }
  return *std::max_element(errors.begin(), errors.end());
}

// softmax(scale · q · keysᵀ) · values. GQA: the head's keys and values; MLA: [latent | rope key]
// and latent.
//
// Tolerance: a score of n products has an absolute error of at most δ = scale · (n + 3) · 2^-24 ·
// Σ|q·k|; a weight exp(score - max) / total then has a relative error of at most 4δ plus some
// roundings for each of exp, sum and quotient; and the result that of a sum of weighted values,
// whose magnitudes are bounded by the greatest |value|. A soft cap passes δ on, its slope being at
// most 1, and adds some units in the last place of a score, at most 16 · cap · 2^-24.
inline AttentionResult Attention(const Row& q, const std::vector<Row>& keys,
                                 const std::vector<Row>& values, const AttentionRule& rule) {
  const auto [begin, end, scale, cap, weight_rounding, tile, group] = rule;
  std::vector<double> scores;
  double greatest = -std::numeric_limits<double>::infinity();
  double magnitude = 0;
  for (int j = begin; j < end; ++j) {
    double score = 0;
    double sum = 0;
    for (size_t c = 0; c < q.size(); ++c) {
      score += q[c] * keys[j][c];
      sum += std::abs(q[c] * keys[j][c]);
    }
    score *= scale;
    scores.push_back(cap == 0 ? score : cap * std::tanh(score / cap));
    greatest = std::max(greatest, scores.back());
    magnitude = std::max(magnitude, sum);
  }
  AttentionResult result;
  result.out.assign(values[begin].size(), 0.0);
  double total = 0;
  double largest_value = 0;
  std::vector<double> weights;
  for (int j = begin; j < end; ++j) {
    const double weight = std::exp(scores[j - begin] - greatest);
    weights.push_back(weight);
    total += weight;
    for (size_t c = 0; c < result.out.size(); ++c) {
      result.out[c] += weight * values[j][c];
      largest_value = std::max(largest_value, std::abs(values[j][c]));
    }
  }
  for (double& value : result.out) value /= total;
  const double delta =
      (scale * (static_cast<double>(q.size()) + 3) * magnitude + 16 * cap) * 0x1p-24;
  result.tolerance = largest_value * (4 * delta + (16 + (end - begin)) * 0x1p-23 + weight_rounding);
  if (tile > 0) result.tolerance += StepError(weights, values, rule) / total;
  return result;
}

}  // namespace transmla::reference

#endif  // TRANSMLA_TESTS_REFERENCE_ATTENTION_H_
