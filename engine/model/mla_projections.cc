#include "engine/model/mla_projections.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/attention.h"

namespace transmla {
namespace {

// Rows of the last matrices as backends want them.
struct RowOrders {
  RowOrder q, kv;
};

RowOrders OrdersOf(const MlaSpec& mla, bool interleaved_rope) {
  if (!interleaved_rope) return {};
  const int rope = mla.qk_rope_head_dim;
  return {.q = HalfSplitOrder(mla.num_attention_heads, mla.qk_nope_head_dim + rope, rope),
          .kv = HalfSplitOrder(1, mla.kv_lora_rank + rope, rope)};
}

// The names of layer `layer`, and the sizes of what they hold.
struct LayerLoader {
  const ModelSpec& spec;
  const TensorNames& names;
  const RowOrders& orders;
  const int layer;
  WeightLoader& loader;

  int64_t QueryRows() const {
    return int64_t{spec.mla.num_attention_heads} *
           (spec.mla.qk_nope_head_dim + spec.mla.qk_rope_head_dim);
  }
  int64_t LatentRows() const { return spec.mla.kv_lora_rank + spec.mla.qk_rope_head_dim; }
  std::string Weight(absl::string_view stem) const { return LayerName(stem, layer) + ".weight"; }

  WeightPtr Matrix(absl::string_view stem, int64_t rows, int64_t cols,
                   const RowOrder& order = {}) const {
    return loader.Matrix(Weight(stem), rows, cols, order);
  }
  // What is optional is there in every layer or in none; a checkpoint with a layer on its own may
  // lack the first.
  bool HasOptional(absl::string_view stem, absl::string_view suffix = "") const {
    return loader.Has(absl::StrCat(LayerName(stem, 0), suffix)) ||
           loader.Has(absl::StrCat(LayerName(stem, layer), suffix));
  }
  WeightPtr Bias(absl::string_view stem, int64_t rows, const RowOrder& order = {}) const {
    if (!HasOptional(stem, ".bias")) return nullptr;
    return loader.Vector(LayerName(stem, layer) + ".bias", rows, order);
  }
};

class DirectProjections : public MlaProjections {
 public:
  DirectProjections(const ModelSpec& spec, Backend* backend) : spec_(spec), backend_(backend) {}

  absl::Status Allocate(const StepLimits& limits) override {
    if (spec_.mla.q_lora_rank == 0) return absl::OkStatus();
    ASSIGN_OR_RETURN(q_a_, backend_->NewTensor(Shape({limits.max_tokens, spec_.mla.q_lora_rank})));
    return absl::OkStatus();
  }

  void LoadLayer(const LayerLoader& from) {
    Layer& layer = layers_.emplace_back();
    if (!from.loader.Wants(from.layer)) return;
    const int rank = spec_.mla.q_lora_rank;
    const absl::string_view last = rank > 0 ? from.names.q_b : from.names.q;
    if (rank > 0) {
      layer.q_a = from.Matrix(from.names.q_a, rank, spec_.hidden_size);
      layer.q_a_bias = from.Bias(from.names.q_a, rank);
      if (from.HasOptional(from.names.q_a_norm))
        layer.q_a_norm = from.loader.Vector(LayerName(from.names.q_a_norm, from.layer), rank);
    }
    layer.q =
        from.Matrix(last, from.QueryRows(), rank > 0 ? rank : spec_.hidden_size, from.orders.q);
    layer.q_bias = from.Bias(last, from.QueryRows(), from.orders.q);
    layer.kv_a = from.Matrix(from.names.kv_a, from.LatentRows(), spec_.hidden_size, from.orders.kv);
    layer.kv_a_bias = from.Bias(from.names.kv_a, from.LatentRows(), from.orders.kv);
  }

  absl::Status Run(int index, const TensorView& hidden, const MutableTensorView& q,
                   const MutableTensorView& kv) override {
    const Layer& layer = layers_[index];
    const MutableTensorView q_rows = Reshape(q, Shape({q.shape[0], q.shape[1] * q.shape[2]}));
    const LinearArgs to_kv{
        .in = hidden, .weight = layer.kv_a.get(), .bias = layer.kv_a_bias.get(), .out = kv};
    LinearArgs to_q{
        .in = hidden, .weight = layer.q.get(), .bias = layer.q_bias.get(), .out = q_rows};
    if (layer.q_a == nullptr) return backend_->LinearGroup({{to_q, to_kv}});
    const MutableTensorView q_a = q_a_->Rows(hidden.shape[0]);
    RETURN_IF_ERROR(backend_->LinearGroup(
        {{{.in = hidden, .weight = layer.q_a.get(), .bias = layer.q_a_bias.get(), .out = q_a},
          to_kv}}));
    if (layer.q_a_norm != nullptr) {
      RETURN_IF_ERROR(backend_->Norm(
          {.in = q_a, .weight = layer.q_a_norm.get(), .eps = spec_.norm_eps, .out = q_a}));
    }
    to_q.in = q_a;
    return backend_->Linear(to_q);
  }

 private:
  struct Layer {
    WeightPtr q_a, q_a_bias, q_a_norm;  // with q_lora_rank
    WeightPtr q, q_bias;                // of `hidden`, or of what q_a makes of it
    WeightPtr kv_a, kv_a_bias;
  };

  const ModelSpec spec_;
  Backend* const backend_;
  std::vector<Layer> layers_;
  std::unique_ptr<DeviceTensor> q_a_;
};

// q, k and v of the source's heads, the norms of q and k, then the maps of queries, a head, and of
// cache rows.
class NormedProjections : public MlaProjections {
 public:
  NormedProjections(const ModelSpec& spec, Backend* backend) : spec_(spec), backend_(backend) {}

  absl::Status Allocate(const StepLimits& limits) override {
    const int64_t tokens = limits.max_tokens;
    ASSIGN_OR_RETURN(q_, backend_->NewTensor(Shape({tokens, QueryWidth()})));
    ASSIGN_OR_RETURN(k_, backend_->NewTensor(Shape({tokens, KeyWidth()})));
    ASSIGN_OR_RETURN(v_, backend_->NewTensor(Shape({tokens, KeyWidth()})));
    return absl::OkStatus();
  }

  void LoadLayer(const LayerLoader& from) {
    const TensorNames& names = from.names;
    const auto [heads, groups, dim] = spec_.gqa;
    const int64_t width = KeyWidth();
    Layer& layer = layers_.emplace_back();
    if (!from.loader.Wants(from.layer)) return;
    layer.q = Load(from, names.q, QueryWidth());
    layer.k = Load(from, names.k, width);
    layer.v = Load(from, names.v, width);
    layer.q_norm = from.loader.Norm(LayerName(names.q_norm, from.layer), dim);
    layer.k_norm = from.loader.Norm(LayerName(names.k_norm, from.layer), dim);
    const int rows = static_cast<int>(from.QueryRows() / heads);
    layer.q_map = from.loader.PerHead(from.Weight(names.q_b), {heads, rows, 0, rows, false}, dim,
                                      from.orders.q);
    const std::string kv = from.Weight(names.kv_a);
    const Shape shape({from.LatentRows(), 2 * width});
    layer.k_map = from.loader.ColumnsOf(kv, shape, {0, width}, from.orders.kv);
    layer.v_map = from.loader.ColumnsOf(kv, shape, {width, width}, from.orders.kv);
    layer.bias = from.Bias(names.kv_a, from.LatentRows(), from.orders.kv);
  }

  absl::Status Run(int index, const TensorView& hidden, const MutableTensorView& q,
                   const MutableTensorView& kv) override {
    const Layer& layer = layers_[index];
    const auto [heads, groups, dim] = spec_.gqa;
    const int64_t tokens = hidden.shape[0];
    const MutableTensorView q_in = q_->Rows(tokens), k_in = k_->Rows(tokens);
    const MutableTensorView v_in = v_->Rows(tokens);
    const MutableTensorView q_heads = Reshape(q_in, Shape({tokens, heads, dim}));
    const MutableTensorView k_heads = Reshape(k_in, Shape({tokens, groups, dim}));
    RETURN_IF_ERROR(
        backend_->LinearGroup({{ArgsOf(layer.q, hidden, q_in), ArgsOf(layer.k, hidden, k_in),
                                ArgsOf(layer.v, hidden, v_in)}}));
    RETURN_IF_ERROR(NormHeads(layer.q_norm, q_heads));
    RETURN_IF_ERROR(NormHeads(layer.k_norm, k_heads));
    RETURN_IF_ERROR(
        backend_->PerHeadLinear({.in = q_heads, .weight = layer.q_map.get(), .out = q}));
    RETURN_IF_ERROR(backend_->Linear(
        {.in = k_in, .weight = layer.k_map.get(), .bias = layer.bias.get(), .out = kv}));
    return backend_->Linear(
        {.in = v_in, .weight = layer.v_map.get(), .accumulate = true, .out = kv});
  }

 private:
  struct Projection {
    WeightPtr weight, bias;
  };
  struct Layer {
    Projection q, k, v;        // as in the source
    WeightPtr q_norm, k_norm;  // [head_dim]
    WeightPtr q_map;           // [H, Dn + Dr, head_dim]
    WeightPtr k_map, v_map;    // [R + Dr, G · head_dim] each; a cache row is their sum
    WeightPtr bias;            // [R + Dr], or none
  };

  int64_t QueryWidth() const { return int64_t{spec_.gqa.num_attention_heads} * spec_.gqa.head_dim; }
  int64_t KeyWidth() const { return int64_t{spec_.gqa.num_key_value_heads} * spec_.gqa.head_dim; }

  Projection Load(const LayerLoader& from, absl::string_view stem, int64_t rows) const {
    return {.weight = from.Matrix(stem, rows, spec_.hidden_size), .bias = from.Bias(stem, rows)};
  }

  static LinearArgs ArgsOf(const Projection& projection, const TensorView& in,
                           const MutableTensorView& out) {
    return {.in = in, .weight = projection.weight.get(), .bias = projection.bias.get(), .out = out};
  }

  absl::Status NormHeads(const WeightPtr& weight, const MutableTensorView& heads) {
    return backend_->Norm(
        {.in = heads, .weight = weight.get(), .eps = spec_.norm_eps, .out = heads});
  }

  const ModelSpec spec_;
  Backend* const backend_;
  std::vector<Layer> layers_;
  std::unique_ptr<DeviceTensor> q_, k_, v_;
};

template <typename Projections>
std::unique_ptr<MlaProjections> Load(const ModelSpec& spec, const TensorNames& names,
                                     const RowOrders& orders, WeightLoader& loader,
                                     Backend* backend) {
  auto projections = std::make_unique<Projections>(spec, backend);
  for (int layer = 0; layer < spec.num_layers; ++layer)
    projections->LoadLayer({spec, names, orders, layer, loader});
  return projections;
}

}  // namespace

std::unique_ptr<MlaProjections> LoadMlaProjections(const ModelSpec& spec, const TensorNames& names,
                                                   bool interleaved_rope, WeightLoader& loader,
                                                   Backend* backend) {
  const RowOrders orders = OrdersOf(spec.mla, interleaved_rope);
  return (spec.qk_norm ? Load<NormedProjections> : Load<DirectProjections>)(spec, names, orders,
                                                                            loader, backend);
}

}  // namespace transmla
