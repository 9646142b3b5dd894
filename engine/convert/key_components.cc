#include "engine/convert/key_components.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/linalg/hermitian_eigen.h"

namespace transmla {
namespace {

// Queries with less than this share of the strongest group's energy count as that: a group nobody
// asks would otherwise be divided by zero.
constexpr double kLeastShareOfEnergy = 1e-12;

// E[κκᴴ] of pair `pair` from the moment of halves: κ_g = k[g, pair] + i·k[g, pair + n].
struct HermitianMoment {
  Matrix real, imag;  // [G, G]
};
HermitianMoment MomentOfPair(const KeyComponentsInput& input, int pair) {
  const int64_t heads = input.gqa.num_key_value_heads, d = input.gqa.head_dim;
  const Matrix& m = *input.key_moment;
  HermitianMoment moment{Matrix(heads, heads), Matrix(heads, heads)};
  for (int64_t g = 0; g < heads; ++g) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t a = g * d + pair, b = h * d + pair, half = d / 2;
      moment.real(g, h) = m(a, b) + m(a + half, b + half);
      moment.imag(g, h) = m(a + half, b) - m(a, b + half);
    }
  }
  return moment;
}

// Roots of the energy of each group's queries at `pair`, all positive.
std::vector<double> QueryWeights(const KeyComponentsInput& input, int pair) {
  const int heads = input.gqa.num_key_value_heads, half = input.gqa.head_dim / 2;
  const int group = input.gqa.num_attention_heads / heads;
  std::vector<double> weights(heads);
  for (int head = 0; head < input.gqa.num_attention_heads; ++head) {
    const Matrix& moment = input.query_moments[head];
    weights[head / group] += moment(pair, pair) + moment(pair + half, pair + half);
  }
  const double most = *std::max_element(weights.begin(), weights.end());
  for (double& weight : weights)
    weight = most > 0 ? std::sqrt(std::max(weight, most * kLeastShareOfEnergy)) : 1;
  return weights;
}

absl::Status DecomposePair(const KeyComponentsInput& input, int pair,
                           std::vector<KeyComponent>& components) {
  const std::vector<double> weights = QueryWeights(input, pair);
  const auto heads = static_cast<int64_t>(weights.size());
  HermitianMoment moment = MomentOfPair(input, pair);
  for (int64_t g = 0; g < heads; ++g) {
    for (int64_t h = 0; h < heads; ++h) {
      moment.real(g, h) *= weights[g] * weights[h];
      moment.imag(g, h) *= weights[g] * weights[h];
    }
  }
  ASSIGN_OR_RETURN(const HermitianEigen eigen, DecomposeHermitian(moment.real, moment.imag));
  const double cost = RopeCost(input.inv_freq[pair], input.max_distance);
  for (int64_t c = 0; c < heads; ++c) {
    KeyComponent component;
    component.pair = pair;
    component.energy = std::max(eigen.values[c], 0.0);
    component.rope_cost = component.energy * cost;
    for (int64_t g = 0; g < heads; ++g) {
      // Uᴴ·D of keys, Uᴴ·D⁻¹ of queries.
      component.key_real.push_back(eigen.real(g, c) * weights[g]);
      component.key_imag.push_back(-eigen.imag(g, c) * weights[g]);
      component.query_real.push_back(eigen.real(g, c) / weights[g]);
      component.query_imag.push_back(-eigen.imag(g, c) / weights[g]);
    }
    components.push_back(std::move(component));
  }
  return absl::OkStatus();
}

// Writes the rows of real and imaginary part of `row` · κ at row `at` of `map`.
void WriteRows(const std::vector<double>& real, const std::vector<double>& imag, int pair,
               int head_dim, int64_t at, Matrix& map) {
  for (size_t g = 0; g < real.size(); ++g) {
    const auto first = static_cast<int64_t>(g) * head_dim + pair, second = first + head_dim / 2;
    map(at, first) = map(at + 1, second) = real[g];
    map(at, second) = -imag[g];
    map(at + 1, first) = imag[g];
  }
}

}  // namespace

double RopeCost(double inv_freq, int max_distance) {
  double sum = 0, weights = 0;
  for (int distance = 1; distance <= max_distance; ++distance) {
    const double weight = 1 / std::sqrt(distance);
    sum += weight * (2 - 2 * std::cos(inv_freq * distance));
    weights += weight;
  }
  return sum / weights;
}

absl::StatusOr<std::vector<KeyComponent>> DecomposeKeys(const KeyComponentsInput& input) {
  const int pairs = input.gqa.head_dim / 2;
  CHECK_EQ(static_cast<int>(input.inv_freq.size()), pairs);
  CHECK_EQ(static_cast<int>(input.query_moments.size()), input.gqa.num_attention_heads);
  CHECK_GE(input.max_distance, 1);
  std::vector<KeyComponent> components;
  for (int pair = 0; pair < pairs; ++pair) RETURN_IF_ERROR(DecomposePair(input, pair, components));
  std::stable_sort(
      components.begin(), components.end(),
      [](const KeyComponent& a, const KeyComponent& b) { return a.rope_cost > b.rope_cost; });
  return components;
}

KeyMaps MakeKeyMaps(absl::Span<const KeyComponent> components, const GqaSpec& gqa,
                    absl::Span<const float> inv_freq, int qk_rope_head_dim) {
  const int64_t width = int64_t{gqa.num_key_value_heads} * gqa.head_dim;
  CHECK_EQ(static_cast<int64_t>(components.size()) * 2, width);
  KeyMaps maps{.key_map = Matrix(width, width), .query_map = Matrix(width, width), .inv_freq = {}};
  int64_t at = 0;
  for (const KeyComponent& component : components) {
    WriteRows(component.key_real, component.key_imag, component.pair, gqa.head_dim, at,
              maps.key_map);
    WriteRows(component.query_real, component.query_imag, component.pair, gqa.head_dim, at,
              maps.query_map);
    if (at < qk_rope_head_dim) maps.inv_freq.push_back(inv_freq[component.pair]);
    at += 2;
  }
  return maps;
}

}  // namespace transmla
