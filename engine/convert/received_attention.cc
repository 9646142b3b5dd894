#include "engine/convert/received_attention.h"

#include <algorithm>
#include <cmath>

namespace transmla {
namespace {

// Turns the pairs (f, f + head_dim / 2) of each head of each row by their angles.
void Rotate(const std::vector<float>& inv_freq, float magnitude, int head_dim, FloatMatrix& rows) {
  const auto pairs = static_cast<int64_t>(inv_freq.size());
  const int64_t half = head_dim / 2;
  for (int64_t t = 0; t < rows.rows(); ++t) {
    for (int64_t f = 0; f < pairs; ++f) {
      const float angle = inv_freq[f] * static_cast<float>(t);
      const float c = std::cos(angle) * magnitude, s = std::sin(angle) * magnitude;
      for (int64_t at = f; at < rows.cols(); at += head_dim) {
        const float a = rows.row(t)[at], b = rows.row(t)[at + half];
        rows.row(t)[at] = a * c - b * s;
        rows.row(t)[at + half] = b * c + a * s;
      }
    }
  }
}

}  // namespace

std::vector<float> ReceivedAttention(const ModelSpec& spec, int layer, FloatMatrix q,
                                     FloatMatrix k) {
  const int64_t tokens = q.rows(), d = spec.gqa.head_dim;
  const int group = spec.gqa.num_attention_heads / spec.gqa.num_key_value_heads;
  Rotate(spec.inv_freq[layer], spec.rope_magnitude, spec.gqa.head_dim, q);
  Rotate(spec.inv_freq[layer], spec.rope_magnitude, spec.gqa.head_dim, k);
  const int64_t window = spec.WindowOf(layer) > 0 ? spec.WindowOf(layer) : tokens;
  const float cap = spec.attention_soft_cap;
  std::vector<double> squares(tokens);
  FloatMatrix scores(tokens, tokens);
  for (int head = 0; head < spec.gqa.num_attention_heads; ++head) {
    MultiplyFloats(q.block(0, head * d, tokens, d), Transpose::kNo,
                   k.block(0, head / group * d, tokens, d), Transpose::kYes, /*accumulate=*/false,
                   scores.view());
    for (int64_t t = 0; t < tokens; ++t) {
      float* const row = scores.row(t);
      const int64_t first = std::max<int64_t>(0, t + 1 - window);
      for (int64_t s = first; s <= t; ++s) {
        row[s] *= spec.attention_scale;
        if (cap > 0) row[s] = cap * std::tanh(row[s] / cap);
      }
      const float top = *std::max_element(row + first, row + t + 1);
      double sum = 0;
      for (int64_t s = first; s <= t; ++s) sum += row[s] = std::exp(row[s] - top);
      for (int64_t s = first; s <= t; ++s) squares[s] += (row[s] / sum) * (row[s] / sum);
    }
  }
  std::vector<float> weights(tokens);
  double mean = 0;
  for (int64_t s = 0; s < tokens; ++s) mean += std::sqrt(squares[s]) / static_cast<double>(tokens);
  for (int64_t s = 0; s < tokens; ++s)
    weights[s] = static_cast<float>(std::sqrt(squares[s]) / mean);
  return weights;
}

}  // namespace transmla
