#include <vector>

#include "engine/base/status.h"
#include "engine/model/attention.h"
#include "engine/model/mla_projections.h"

namespace transmla {
namespace {

struct Layer {
  WeightPtr latent_norm;
  WeightPtr w_uk;            // [H, R, Dn], for queries; none if Dn is 0
  WeightPtr w_uk_of_latent;  // [H, Dn, R], the same for latents; where they may be expanded
  WeightPtr w_uv;            // [H, Dv, R]
  WeightPtr output, output_bias;
  WeightPtr inv_freq;
};

// In absorbed form queries go into latent space, attention reads the latent cache as it is, and
// W_UV brings the result back (DeepSeek-V2, arXiv 2405.04434, section 2.1.2). In expanded form
// latents become keys and values of every head. The batch says which tokens attend in which.
class MlaAttentionBlock : public Attention {
 public:
  MlaAttentionBlock(const ModelSpec& spec, bool expanded, Backend* backend)
      : spec_(spec), mla_(spec.mla), expanded_(expanded), backend_(backend) {}

  absl::Status Allocate(const StepLimits& limits) override {
    const int64_t tokens = limits.max_tokens;
    const int64_t heads = mla_.num_attention_heads;
    ASSIGN_OR_RETURN(q_, backend_->NewTensor(Shape({tokens, heads * QueryWidth()})));
    ASSIGN_OR_RETURN(kv_, backend_->NewTensor(Shape({tokens, LatentWidth()})));
    ASSIGN_OR_RETURN(q_latent_, backend_->NewTensor(Shape({tokens, heads, mla_.kv_lora_rank})));
    ASSIGN_OR_RETURN(out_latent_, backend_->NewTensor(Shape({tokens, heads, mla_.kv_lora_rank})));
    ASSIGN_OR_RETURN(attended_, backend_->NewTensor(Shape({tokens, heads * mla_.v_head_dim})));
    RETURN_IF_ERROR(projections_->Allocate(limits));
    if (mla_.qk_nope_head_dim == 0) {
      // Scores come from the rope key alone: the query's latent part is zero in every step.
      const std::vector<float> zeros(tokens * heads * mla_.kv_lora_rank);
      RETURN_IF_ERROR(backend_->Write(zeros, q_latent_->Rows(tokens)));
    }
    return absl::OkStatus();
  }

  void Load(const TensorNames& names, bool interleaved_rope, WeightLoader& loader) {
    const int heads = mla_.num_attention_heads;
    projections_ = LoadMlaProjections(spec_, names, interleaved_rope, loader, backend_);
    for (int i = 0; i < spec_.num_layers; ++i) {
      Layer& layer = layers_.emplace_back();
      if (!loader.Wants(i)) continue;
      if (mla_.latent_norm) {
        layer.latent_norm = loader.Vector(LayerName(names.kv_a_norm, i), mla_.kv_lora_rank);
      }
      LoadExpansion(names, i, loader, layer);
      const std::string output = LayerName(names.attention_output, i);
      layer.output =
          loader.Matrix(output + ".weight", spec_.hidden_size, int64_t{heads} * mla_.v_head_dim);
      if (spec_.output_bias) {
        layer.output_bias = loader.Vector(output + ".bias", spec_.hidden_size);
      }
      layer.inv_freq = loader.Vector(spec_.inv_freq[i], "inverse frequencies");
    }
  }

  absl::Status Run(const AttentionStep& step) override {
    const Layer& layer = layers_[step.layer];
    const int64_t heads = mla_.num_attention_heads;
    const MutableTensorView q =
        Reshape(q_->Rows(step.tokens), Shape({step.tokens, heads, QueryWidth()}));
    const MutableTensorView kv = kv_->Rows(step.tokens);
    RETURN_IF_ERROR(projections_->Run(step.layer, step.normed, q, kv));
    if (step.observer != nullptr) {
      RETURN_IF_ERROR(step.observer->OnLatentProjections(step.layer, q, kv));
    }
    if (layer.latent_norm != nullptr) {
      RETURN_IF_ERROR(backend_->Norm(
          {.in = kv, .weight = layer.latent_norm.get(), .eps = spec_.norm_eps, .out = kv}));
    }
    RETURN_IF_ERROR(backend_->MlaCacheWrite({.q = q,
                                             .kv = kv,
                                             .inv_freq = layer.inv_freq.get(),
                                             .magnitude = spec_.rope_magnitude,
                                             .store = step.store,
                                             .layer = step.cache_layer}));
    return Attend(layer, step, q);
  }

 private:
  int QueryWidth() const { return mla_.qk_nope_head_dim + mla_.qk_rope_head_dim; }
  int LatentWidth() const { return mla_.kv_lora_rank + mla_.qk_rope_head_dim; }

  // W_UK and W_UV: rows of one matrix, or a tensor each.
  void LoadExpansion(const TensorNames& names, int i, WeightLoader& loader, Layer& layer) const {
    const int heads = mla_.num_attention_heads;
    const int rank = mla_.kv_lora_rank, nope = mla_.qk_nope_head_dim, value = mla_.v_head_dim;
    if (names.kv_b.empty()) {
      const std::string k_b = LayerName(names.k_b, i);
      const Shape shape({heads, rank, nope});
      if (nope > 0) layer.w_uk = loader.PerHead(k_b, shape);
      if (nope > 0 && expanded_) {
        layer.w_uk_of_latent = loader.PerHead(k_b, shape, /*transposed=*/true);
      }
      layer.w_uv = loader.PerHead(LayerName(names.v_b, i), Shape({heads, value, rank}));
      return;
    }
    const std::string kv_b = LayerName(names.kv_b, i);
    const WeightLoader::HeadRows keys{heads, nope + value, 0, nope};
    const WeightLoader::HeadRows values{heads, nope + value, nope, value};
    if (nope > 0) {
      WeightLoader::HeadRows transposed = keys;
      transposed.transposed = true;
      layer.w_uk = loader.PerHead(kv_b, transposed, rank);
    }
    if (nope > 0 && expanded_) layer.w_uk_of_latent = loader.PerHead(kv_b, keys, rank);
    layer.w_uv = loader.PerHead(kv_b, values, rank);
  }

  absl::Status Attend(const Layer& layer, const AttentionStep& step, const MutableTensorView& q) {
    const MutableTensorView attended = attended_->Rows(step.tokens);
    const MutableTensorView attended_heads =
        Reshape(attended, Shape({step.tokens, mla_.num_attention_heads, int64_t{mla_.v_head_dim}}));
    const int expanded = backend_->batch().expanded_tokens();
    if (expanded < step.tokens) RETURN_IF_ERROR(AttendAbsorbed(layer, step, q, attended_heads));
    if (expanded > 0) RETURN_IF_ERROR(AttendExpanded(layer, step, q, attended_heads));
    if (step.observer != nullptr) {
      RETURN_IF_ERROR(step.observer->OnAttentionOutput(step.layer, attended_heads));
    }
    return backend_->Linear({.in = attended,
                             .weight = layer.output.get(),
                             .bias = layer.output_bias.get(),
                             .accumulate = step.accumulate,
                             .out = step.out});
  }

  // Writes all rows of `attended`; those of expanded tokens mean nothing. A step mostly has either
  // one form or few absorbed tokens, so that rows for nothing are cheaper than a copy of the
  // others.
  absl::Status AttendAbsorbed(const Layer& layer, const AttentionStep& step,
                              const MutableTensorView& q, const MutableTensorView& attended) {
    const MutableTensorView q_latent = q_latent_->Rows(step.tokens);
    const MutableTensorView out_latent = out_latent_->Rows(step.tokens);
    if (layer.w_uk != nullptr) {
      RETURN_IF_ERROR(
          backend_->PerHeadLinear({.in = q, .weight = layer.w_uk.get(), .out = q_latent}));
    }
    RETURN_IF_ERROR(backend_->MlaAttention({.q_latent = q_latent,
                                            .q = q,
                                            .store = step.store,
                                            .layer = step.cache_layer,
                                            .scale = spec_.attention_scale,
                                            .soft_cap = spec_.attention_soft_cap,
                                            .sliding_window = spec_.WindowOf(step.layer),
                                            .out = out_latent}));
    return backend_->PerHeadLinear({.in = out_latent, .weight = layer.w_uv.get(), .out = attended});
  }

  // Writes the rows of expanded tokens.
  absl::Status AttendExpanded(const Layer& layer, const AttentionStep& step, const TensorView& q,
                              const MutableTensorView& attended) {
    return backend_->MlaExpandedAttention({.q = q,
                                           .w_uk = layer.w_uk_of_latent.get(),
                                           .w_uv = layer.w_uv.get(),
                                           .store = step.store,
                                           .layer = step.cache_layer,
                                           .scale = spec_.attention_scale,
                                           .soft_cap = spec_.attention_soft_cap,
                                           .sliding_window = spec_.WindowOf(step.layer),
                                           .out = attended});
  }

  const ModelSpec spec_;
  const MlaSpec mla_;
  const bool expanded_;
  Backend* const backend_;
  std::unique_ptr<MlaProjections> projections_;
  std::vector<Layer> layers_;
  std::unique_ptr<DeviceTensor> q_, kv_, q_latent_, out_latent_, attended_;
};

}  // namespace

std::unique_ptr<Attention> LoadMlaAttention(const ModelSpec& spec, const TensorNames& names,
                                            bool interleaved_rope, bool expanded,
                                            WeightLoader& loader, Backend* backend) {
  auto attention = std::make_unique<MlaAttentionBlock>(spec, expanded, backend);
  attention->Load(names, interleaved_rope, loader);
  return attention;
}

}  // namespace transmla
