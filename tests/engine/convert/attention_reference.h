// Plain double-precision attention before and after conversion, from the definitions: what the
// conversion's mathematics is tested against. Causal, over one sequence, without the output
// projection.
#ifndef TRANSMLA_TESTS_ENGINE_CONVERT_ATTENTION_REFERENCE_H_
#define TRANSMLA_TESTS_ENGINE_CONVERT_ATTENTION_REFERENCE_H_

#include <cmath>
#include <vector>

#include "engine/base/random.h"
#include "engine/convert/attention_weights.h"
#include "engine/linalg/matrix.h"
#include "engine/linalg/product.h"
#include "engine/model/model_spec.h"

namespace transmla::testing {

inline Matrix RandomMatrix(int64_t rows, int64_t cols, Random& random, double scale = 1) {
  Matrix m(rows, cols);
  for (double& value : m.values()) value = scale * random.Normal();
  return m;
}

inline std::vector<double> RandomVector(int64_t n, Random& random) {
  std::vector<double> v(n);
  for (double& value : v) value = random.Normal();
  return v;
}

inline GqaWeights RandomGqa(const GqaSpec& spec, int hidden, bool biased, uint64_t seed) {
  Random random(seed);
  const int64_t width = int64_t{spec.num_key_value_heads} * spec.head_dim;
  const int64_t q_width = int64_t{spec.num_attention_heads} * spec.head_dim;
  const double scale = 1 / std::sqrt(hidden);
  GqaWeights weights;
  weights.q = RandomMatrix(q_width, hidden, random, scale);
  weights.k = RandomMatrix(width, hidden, random, scale);
  weights.v = RandomMatrix(width, hidden, random, scale);
  if (biased) {
    weights.q_bias = RandomVector(q_width, random);
    weights.k_bias = RandomVector(width, random);
    weights.v_bias = RandomVector(width, random);
  }
  return weights;
}

inline std::vector<float> DefaultFrequencies(int head_dim, double theta = 100) {
  std::vector<float> inv_freq;
  for (int f = 0; f < head_dim / 2; ++f)
    inv_freq.push_back(static_cast<float>(std::pow(theta, -2.0 * f / head_dim)));
  return inv_freq;
}

// x · weightᵀ + bias, [tokens, rows of weight].
inline Matrix Project(const Matrix& x, const Matrix& weight, const std::vector<double>& bias) {
  Matrix y = Multiply(x, Transpose::kNo, weight, Transpose::kYes);
  for (int64_t t = 0; t < y.rows() && !bias.empty(); ++t)
    for (int64_t j = 0; j < y.cols(); ++j) y(t, j) += bias[j];
  return y;
}

// Turns elements (first, second) of `row` by `angle`.
inline void Turn(absl::Span<double> row, int64_t first, int64_t second, double angle) {
  const double a = row[first], b = row[second];
  row[first] = a * std::cos(angle) - b * std::sin(angle);
  row[second] = b * std::cos(angle) + a * std::sin(angle);
}

// out[h] = Σ softmax(scale · score(h, s)) · value(h, s) over s <= t.
template <typename Score, typename Value>
void Attend(int64_t t, double scale, int value_dim, Score score, Value value,
            absl::Span<double> out) {
  std::vector<double> weights;
  double max = -1e300, sum = 0;
  for (int64_t s = 0; s <= t; ++s) {
    weights.push_back(scale * score(s));
    max = std::max(max, weights.back());
  }
  for (double& weight : weights) sum += weight = std::exp(weight - max);
  for (int i = 0; i < value_dim; ++i) {
    out[i] = 0;
    for (int64_t s = 0; s <= t; ++s) out[i] += weights[s] / sum * value(s, i);
  }
}

// Grouped-query attention over `x` [tokens, D]; the result is [tokens, H·d].
inline Matrix GqaAttention(const GqaWeights& w, const GqaSpec& spec,
                           const std::vector<float>& inv_freq, const Matrix& x, double scale) {
  const int64_t d = spec.head_dim, n = d / 2;
  Matrix q = Project(x, w.q, w.q_bias), k = Project(x, w.k, w.k_bias);
  const Matrix v = Project(x, w.v, w.v_bias);
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t f = 0; f < n; ++f) {
      for (int h = 0; h < spec.num_attention_heads; ++h)
        Turn(q.row(t), h * d + f, h * d + f + n, t * double{inv_freq[f]});
      for (int g = 0; g < spec.num_key_value_heads; ++g)
        Turn(k.row(t), g * d + f, g * d + f + n, t * double{inv_freq[f]});
    }
  }
  Matrix out(x.rows(), q.cols());
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int h = 0; h < spec.num_attention_heads; ++h) {
      const int64_t g = h / (spec.num_attention_heads / spec.num_key_value_heads);
      const auto score = [&](int64_t s) {
        double sum = 0;
        for (int64_t i = 0; i < d; ++i) sum += q(t, h * d + i) * k(s, g * d + i);
        return sum;
      };
      Attend(
          t, scale, static_cast<int>(d), score, [&](int64_t s, int i) { return v(s, g * d + i); },
          out.row(t).subspan(h * d, d));
    }
  }
  return out;
}

// RMS norm of the first elements of each row, as many as there are weights; none: `m` as it is.
// Epsilon is that of DeepSeek-V3's latent norms.
inline Matrix RmsNorm(Matrix m, const std::vector<double>& weights) {
  const auto n = static_cast<int64_t>(weights.size());
  for (int64_t t = 0; t < m.rows(); ++t) {
    double squares = 0;
    for (int64_t j = 0; j < n; ++j) squares += m(t, j) * m(t, j);
    for (int64_t j = 0; j < n; ++j) m(t, j) *= weights[j] / std::sqrt(squares / n + 1e-6);
  }
  return m;
}

// Latent attention of docs/checkpoint_format.md over `x` [tokens, D]; the result is [tokens, H·Dv].
inline Matrix LatentAttention(const LatentWeights& w, const MlaSpec& spec, const Matrix& x,
                              double scale) {
  const int64_t nope = spec.qk_nope_head_dim, rope = spec.qk_rope_head_dim;
  const int64_t rank = spec.kv_lora_rank, width = nope + rope, value_dim = spec.v_head_dim;
  Matrix q = Project(w.q_a.empty() ? x : RmsNorm(Project(x, w.q_a, w.q_a_bias), w.q_a_norm), w.q,
                     w.q_bias);
  Matrix kv = RmsNorm(Project(x, w.kv_a, w.kv_a_bias), w.kv_a_norm);
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t f = 0; f < rope / 2; ++f) {
      const double angle = t * double{w.inv_freq[f]};
      for (int h = 0; h < spec.num_attention_heads; ++h) {
        const int64_t at = h * width + nope + 2 * f;
        Turn(q.row(t), at, at + 1, angle);
      }
      Turn(kv.row(t), rank + 2 * f, rank + 2 * f + 1, angle);
    }
  }
  Matrix out(x.rows(), spec.num_attention_heads * value_dim);
  for (int h = 0; h < spec.num_attention_heads; ++h) {
    const Matrix up =
        Multiply(kv.block(0, 0, kv.rows(), rank), Transpose::kNo,
                 w.kv_b.block(h * (nope + value_dim), 0, nope + value_dim, rank), Transpose::kYes);
    for (int64_t t = 0; t < x.rows(); ++t) {
      const auto score = [&](int64_t s) {
        double sum = 0;
        for (int64_t i = 0; i < nope; ++i) sum += q(t, h * width + i) * up(s, i);
        for (int64_t i = 0; i < rope; ++i) sum += q(t, h * width + nope + i) * kv(s, rank + i);
        return sum;
      };
      Attend(
          t, scale, static_cast<int>(value_dim), score,
          [&](int64_t s, int i) { return up(s, nope + i); },
          out.row(t).subspan(h * value_dim, value_dim));
    }
  }
  return out;
}

inline double MaxDifference(const Matrix& a, const Matrix& b) {
  CHECK_EQ(a.rows(), b.rows());
  CHECK_EQ(a.cols(), b.cols());
  double max = 0;
  for (size_t i = 0; i < a.values().size(); ++i)
    max = std::max(max, std::abs(a.values()[i] - b.values()[i]));
  return max;
}

// Σ z·zᵀ over the rows of z.
inline Matrix Gram(const Matrix& z) { return Multiply(z, Transpose::kYes, z, Transpose::kNo); }

// [a | b]
inline Matrix SideBySide(const Matrix& a, const Matrix& b) {
  Matrix c(a.rows(), a.cols() + b.cols());
  for (int64_t i = 0; i < a.rows(); ++i) {
    for (int64_t j = 0; j < a.cols(); ++j) c(i, j) = a(i, j);
    for (int64_t j = 0; j < b.cols(); ++j) c(i, a.cols() + j) = b(i, j);
  }
  return c;
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_CONVERT_ATTENTION_REFERENCE_H_
