#include "engine/convert/stock_model.h"

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/beyond_deepseek.h"
#include "engine/convert/stock_layout.h"
#include "engine/model/rope.h"

namespace transmla {
namespace {

// Whether rope_theta alone gives these frequencies, but for the last bit.
bool FollowsFromTheta(absl::Span<const float> inv_freq, double theta) {
  const absl::StatusOr<Rope> rope =
      MakeRope(static_cast<int>(2 * inv_freq.size()), theta, std::nullopt, 0);
  CHECK_OK(rope.status());
  for (size_t t = 0; t < inv_freq.size(); ++t)
    if (std::abs(rope->inv_freq[t] / inv_freq[t] - 1) > 0x1p-22f) return false;
  return true;
}

// The float whose reciprocal, rounded to float, is nearest to `inv_freq`.
float Reciprocal(float inv_freq) {
  // What stands still may as well turn by less than any rounding.
  if (inv_freq == 0) return 0x1p99f;
  float best = 1 / inv_freq;
  for (const float direction : {0.0f, INFINITY}) {
    const float near = std::nextafter(1 / inv_freq, direction);
    if (std::abs(1 / near - inv_freq) < std::abs(1 / best - inv_freq)) best = near;
  }
  return best;
}

}  // namespace

absl::Status CheckStockFormat(const ModelSpec& source) {
  if (const absl::string_view feature = FeatureBeyondDeepseek(source); !feature.empty())
    return absl::UnimplementedError(absl::StrCat("the ", source.family, " model has ", feature,
                                                 ", which DeepSeek-V3's code lacks; write it in "
                                                 "format transmla"));
  if (source.moe.num_experts > 0)
    return absl::UnimplementedError(
        absl::StrCat("the ", source.family, " model has experts, which DeepSeek-V3's code routes ",
                     "to in another way (by sigmoids, beside a shared expert); write it in format ",
                     "transmla"));
  for (const std::vector<float>& inv_freq : source.inv_freq) {
    if (inv_freq != source.inv_freq[0])
      return absl::UnimplementedError(
          absl::StrCat("layers of the ", source.family, " model turn at different frequencies, ",
                       "which DeepSeek-V3's code shares; write it in format transmla"));
  }
  return absl::OkStatus();
}

void SetFrequencies(absl::Span<const float> inv_freq, Config& config) {
  config.rope_scaling.reset();
  if (FollowsFromTheta(inv_freq, config.rope_theta)) return;
  // 1 to any power is 1: what is left of transformers' formula is a reciprocal.
  config.rope_theta = 1;
  RopeScaling& scaling = config.rope_scaling.emplace();
  scaling.type = "longrope";
  scaling.factor = 1;
  scaling.attention_factor = 1;
  scaling.original_max_position_embeddings = config.max_position_embeddings;
  for (const float frequency : inv_freq) scaling.short_factor.push_back(Reciprocal(frequency));
  scaling.long_factor = scaling.short_factor;
}

void UseStockLayout(const SourceWeights& weights, EmitSource& source, EmitOptions& options) {
  const ModelSpec& spec = weights.spec();
  for (const std::vector<float>& inv_freq : source.inv_freq) CHECK(inv_freq == source.inv_freq[0]);
  const std::vector<float> inv_freq = source.inv_freq[0];
  source.inv_freq.clear();
  StockLayoutInput input{.shape = options.mla};
  // Theirs is 1/√(Dn + Dr).
  input.query_scale =
      options.config.attention_scale.value() *
      std::sqrt(static_cast<double>(input.shape.qk_nope_head_dim + input.shape.qk_rope_head_dim));
  input.rope_scale = double{spec.rope_magnitude} * spec.rope_magnitude;
  source.layer = [&weights, input, layer_of = std::move(source.layer)](
                     int layer) mutable -> absl::StatusOr<LatentWeights> {
    ASSIGN_OR_RETURN(const LatentWeights latent, layer_of(layer));
    ASSIGN_OR_RETURN(input.hidden_norm, weights.HiddenNormBound(layer));
    LatentWeights stock = ToStockLayout(latent, input);
    // The source's own is passed on with its projection.
    if (weights.spec().output_bias) stock.o_bias.clear();
    return stock;
  };
  options.mla = StockShape(options.mla, spec.hidden_size);
  options.biases = {.query = false, .latent = true, .output = !spec.output_bias};
  options.config = LatentConfig(weights, options.mla, options.biases, 0);
  options.config.architecture = "DeepseekV3ForCausalLM";
  options.config.model_type = "deepseek_v3";
  options.config.attention_scale.reset();
  options.config.first_k_dense_replace = spec.num_layers;
  SetFrequencies(inv_freq, options.config);
}

}  // namespace transmla
