#include "engine/convert/llama_cpp.h"

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "engine/convert/beyond_deepseek.h"

namespace transmla {
namespace {

// Latents are below a million: their squares, of that many times smaller ones, vanish beside any
// eps that a model has, and are still numbers that float32 and BF16 hold with all their digits.
constexpr double kShrink = 0x1p-40;

// Whether frequencies are base^(-2t/d) for some base, as deepseek2 has them.
bool IsGeometric(const std::vector<float>& inv_freq) {
  constexpr double kRounding = 1e-4;
  for (size_t t = 0; t < inv_freq.size(); ++t) {
    const double wanted = inv_freq.size() > 1 ? std::pow(inv_freq[1], static_cast<double>(t)) : 1;
    if (std::abs(inv_freq[t] - wanted) > kRounding * wanted) return false;
  }
  return true;
}

// The first thing that deepseek2 cannot hold; empty if there is none.
absl::string_view Obstacle(const ConvertOptions& options, const ModelSpec& source) {
  if (options.recipe == Recipe::kBest) {
    return "what recipe best makes: biases of latents, and frequencies of RoPE that differ between "
           "layers";
  }
  if (options.recipe == Recipe::kEquivalent) {
    return "what recipe equivalent makes: heads that are all RoPE";
  }
  if (source.qkv_bias) return "biases of queries, keys and values";
  if (source.output_bias) return "a bias of the output projection";
  if (source.moe.num_experts > 0) return "experts without one that all tokens share";
  if (const absl::string_view feature = FeatureBeyondDeepseek(source); !feature.empty()) {
    return feature;
  }
  if (source.rope_magnitude != 1) return "scaled RoPE";
  for (const std::vector<float>& inv_freq : source.inv_freq) {
    if (2 * static_cast<int>(inv_freq.size()) != source.gqa.head_dim) {
      return "RoPE over a part of a head";
    }
    if (!IsGeometric(inv_freq)) return "scaled RoPE";
  }
  return {};
}

}  // namespace

absl::Status CheckLlamaCpp(const ConvertOptions& options, const ModelSpec& source) {
  const absl::string_view obstacle = Obstacle(options, source);
  if (obstacle.empty()) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("the output format gguf-deepseek2 has no place for ",
                                               obstacle, "; it takes recipe transmla on models ",
                                               "without; the format gguf has a place"));
}

void ShrinkLatents(int kv_lora_rank, LatentWeights& weights) {
  for (int64_t row = 0; row < kv_lora_rank; ++row) {
    for (double& value : weights.kv_a.row(row)) value *= kShrink;
  }
  for (double& value : weights.q_a.values()) value *= kShrink;
}

float HarmlessNormWeight(float norm_eps) {
  return static_cast<float>(std::sqrt(static_cast<double>(norm_eps)) / kShrink);
}

}  // namespace transmla
