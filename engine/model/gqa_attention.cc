#include <vector>

#include "engine/base/status.h"
#include "engine/model/attention.h"

namespace transmla {
namespace {

struct Layer {
  WeightPtr q, k, v, output;
  WeightPtr q_bias, k_bias, v_bias, output_bias;
  WeightPtr q_norm, k_norm;  // [head_dim]
  WeightPtr inv_freq;
};

class GqaAttentionBlock : public Attention {
 public:
  GqaAttentionBlock(const ModelSpec& spec, Backend* backend) : spec_(spec), backend_(backend) {}

  absl::Status Allocate(const StepLimits& limits) override {
    const int64_t q_width = int64_t{spec_.gqa.num_attention_heads} * spec_.gqa.head_dim;
    const int64_t kv_width = int64_t{spec_.gqa.num_key_value_heads} * spec_.gqa.head_dim;
    ASSIGN_OR_RETURN(q_, backend_->NewTensor(Shape({limits.max_tokens, q_width})));
    ASSIGN_OR_RETURN(k_, backend_->NewTensor(Shape({limits.max_tokens, kv_width})));
    ASSIGN_OR_RETURN(v_, backend_->NewTensor(Shape({limits.max_tokens, kv_width})));
    ASSIGN_OR_RETURN(attended_, backend_->NewTensor(Shape({limits.max_tokens, q_width})));
    return absl::OkStatus();
  }

  void Load(const TensorNames& names, bool interleaved_rope, WeightLoader& loader) {
    const auto [heads, groups, dim] = spec_.gqa;
    const int hidden = spec_.hidden_size;
    RowOrder q_order, k_order;
    if (interleaved_rope) {
      q_order = HalfSplitOrder(heads, dim, dim);
      k_order = HalfSplitOrder(groups, dim, dim);
    }
    for (int i = 0; i < spec_.num_layers; ++i) {
      const auto weight = [&](absl::string_view stem) { return LayerName(stem, i) + ".weight"; };
      const auto bias = [&](absl::string_view stem) { return LayerName(stem, i) + ".bias"; };
      Layer& layer = layers_.emplace_back();
      if (!loader.Wants(i)) continue;
      if (names.qkv.empty()) {
        layer.q = loader.Matrix(weight(names.q), int64_t{heads} * dim, hidden, q_order);
        layer.k = loader.Matrix(weight(names.k), int64_t{groups} * dim, hidden, k_order);
        layer.v = loader.Matrix(weight(names.v), int64_t{groups} * dim, hidden);
      } else {
        LoadFused(weight(names.qkv), loader, layer);
      }
      layer.output = loader.Matrix(weight(names.attention_output), hidden, int64_t{heads} * dim);
      if (spec_.qk_norm) {
        layer.q_norm = loader.Norm(LayerName(names.q_norm, i), dim);
        layer.k_norm = loader.Norm(LayerName(names.k_norm, i), dim);
      }
      if (spec_.qkv_bias) {
        layer.q_bias = loader.Vector(bias(names.q), int64_t{heads} * dim, q_order);
        layer.k_bias = loader.Vector(bias(names.k), int64_t{groups} * dim, k_order);
        layer.v_bias = loader.Vector(bias(names.v), int64_t{groups} * dim);
      }
      if (spec_.output_bias) {
        layer.output_bias = loader.Vector(bias(names.attention_output), hidden);
      }
      layer.inv_freq = loader.Vector(spec_.inv_freq[i], "inverse frequencies");
    }
  }

  absl::Status Run(const AttentionStep& step) override {
    const Layer& layer = layers_[step.layer];
    const auto [heads, groups, dim] = spec_.gqa;
    const MutableTensorView q = q_->Rows(step.tokens);
    const MutableTensorView k = k_->Rows(step.tokens);
    const MutableTensorView v = v_->Rows(step.tokens);
    const MutableTensorView attended = attended_->Rows(step.tokens);
    const MutableTensorView q_heads = Reshape(q, Shape({step.tokens, heads, dim}));
    const MutableTensorView k_heads = Reshape(k, Shape({step.tokens, groups, dim}));
    const MutableTensorView v_heads = Reshape(v, Shape({step.tokens, groups, dim}));
    const MutableTensorView attended_heads = Reshape(attended, Shape({step.tokens, heads, dim}));
    RETURN_IF_ERROR(Project(step, q, k, v));
    RETURN_IF_ERROR(NormHeads(layer.q_norm, q_heads));
    RETURN_IF_ERROR(NormHeads(layer.k_norm, k_heads));
    if (step.observer != nullptr) {
      RETURN_IF_ERROR(step.observer->OnProjections(step.layer, q_heads, k_heads, v_heads));
    }
    RETURN_IF_ERROR(backend_->GqaCacheWrite({.q = q_heads,
                                             .k = k_heads,
                                             .v = v_heads,
                                             .inv_freq = layer.inv_freq.get(),
                                             .magnitude = spec_.rope_magnitude,
                                             .store = step.store,
                                             .layer = step.cache_layer}));
    RETURN_IF_ERROR(backend_->GqaAttention({.q = q_heads,
                                            .store = step.store,
                                            .layer = step.cache_layer,
                                            .scale = spec_.attention_scale,
                                            .soft_cap = spec_.attention_soft_cap,
                                            .sliding_window = spec_.WindowOf(step.layer),
                                            .out = attended_heads}));
    if (step.observer != nullptr) {
      RETURN_IF_ERROR(step.observer->OnAttentionOutput(step.layer, attended_heads));
    }
    return backend_->Linear({.in = attended,
                             .weight = layer.output.get(),
                             .bias = layer.output_bias.get(),
                             .accumulate = step.accumulate,
                             .out = step.out});
  }

 private:
  // The rows of one matrix: all heads of q, then of k, then of v.
  void LoadFused(const std::string& name, WeightLoader& loader, Layer& layer) const {
    const auto [heads, groups, dim] = spec_.gqa;
    const int64_t q = int64_t{heads} * dim;
    const int64_t kv = int64_t{groups} * dim;
    const WeightLoader::Fused fused{.name = name, .rows = q + 2 * kv, .cols = spec_.hidden_size};
    layer.q = loader.RowsOf(fused, 0, q);
    layer.k = loader.RowsOf(fused, q, kv);
    layer.v = loader.RowsOf(fused, q + kv, kv);
  }

  absl::Status Project(const AttentionStep& step, const MutableTensorView& q,
                       const MutableTensorView& k, const MutableTensorView& v) {
    const Layer& layer = layers_[step.layer];
    return backend_->LinearGroup(
        {{{.in = step.normed, .weight = layer.q.get(), .bias = layer.q_bias.get(), .out = q},
          {.in = step.normed, .weight = layer.k.get(), .bias = layer.k_bias.get(), .out = k},
          {.in = step.normed, .weight = layer.v.get(), .bias = layer.v_bias.get(), .out = v}}});
  }

  // Each head by itself.
  absl::Status NormHeads(const WeightPtr& weight, const MutableTensorView& heads) {
    if (weight == nullptr) return absl::OkStatus();
    return backend_->Norm(
        {.in = heads, .weight = weight.get(), .eps = spec_.norm_eps, .out = heads});
  }

  const ModelSpec spec_;
  Backend* const backend_;
  std::vector<Layer> layers_;
  std::unique_ptr<DeviceTensor> q_, k_, v_, attended_;
};

}  // namespace

std::unique_ptr<Attention> LoadGqaAttention(const ModelSpec& spec, const TensorNames& names,
                                            bool interleaved_rope, WeightLoader& loader,
                                            Backend* backend) {
  auto attention = std::make_unique<GqaAttentionBlock>(spec, backend);
  attention->Load(names, interleaved_rope, loader);
  return attention;
}

}  // namespace transmla
