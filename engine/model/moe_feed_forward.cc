#include <algorithm>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/feed_forward.h"

namespace transmla {
namespace {

struct Expert {
  WeightPtr gate, up, down;
};

struct Layer {
  WeightPtr router;             // null in layers without experts
  WeightPtr router_bias;        // [num_experts], or null
  Expert shared;                // null without
  std::vector<Expert> experts;  // [num_experts]
};

// A step's routes, token by token as Route gives them, and sorted by expert: the rows of one expert
// stand together and are computed together. A row's result does not depend on its neighbours, and
// each token adds up its own rows in the order of its routes: results are batch invariant.
class Routes {
 public:
  void Reserve(int64_t routes, int num_experts) {
    experts_.reserve(routes);
    weights_.reserve(routes);
    tokens_.reserve(routes);
    rows_.reserve(routes);
    starts_.reserve(num_experts + 1);
  }
  // Makes room for as many routes as were reserved, or fewer.
  void Resize(int64_t routes) {
    experts_.resize(routes);
    weights_.resize(routes);
    tokens_.resize(routes);
    rows_.resize(routes);
  }
  // To be written by Route: [routes].
  absl::Span<int32_t> experts() { return absl::MakeSpan(experts_); }
  absl::Span<float> weights() { return absl::MakeSpan(weights_); }

  void Sort(int top_k, int num_experts) {
    starts_.assign(num_experts + 1, 0);
    for (const int32_t expert : experts_) ++starts_[expert + 1];
    for (int e = 0; e < num_experts; ++e) starts_[e + 1] += starts_[e];
    for (size_t i = 0; i < experts_.size(); ++i) {
      const int32_t row = starts_[experts_[i]]++;
      rows_[i] = row;
      tokens_[row] = static_cast<int32_t>(i) / top_k;
    }
    // Each start has become the next one.
    std::copy_backward(starts_.begin(), starts_.end() - 1, starts_.end());
    starts_[0] = 0;
  }
  // Sorted rows: the token of each, and the row of each route.
  absl::Span<const int32_t> tokens() const { return tokens_; }
  absl::Span<const int32_t> rows() const { return rows_; }
  int64_t Begin(int expert) const { return starts_[expert]; }
  int64_t Count(int expert) const { return starts_[expert + 1] - starts_[expert]; }

 private:
  std::vector<int32_t> experts_, tokens_, rows_, starts_;
  std::vector<float> weights_;
};

// Rows [first, first + count) of a matrix.
MutableTensorView Part(const MutableTensorView& view, int64_t first, int64_t count) {
  const int64_t cols = view.shape[1];
  return {view.as<char>() + first * RowBytes(view.dtype, cols), view.dtype, Shape({count, cols})};
}

class MoeFeedForward : public FeedForward {
 public:
  MoeFeedForward(const ModelSpec& spec, Backend* backend) : spec_(spec), backend_(backend) {}

  absl::Status Allocate(const StepLimits& limits) override {
    const MoeSpec& moe = spec_.moe;
    const int64_t routes = int64_t{limits.max_tokens} * moe.num_experts_per_tok;
    const Shape width({limits.max_tokens, moe.intermediate_size});
    ASSIGN_OR_RETURN(logits_, backend_->NewTensor(Shape({limits.max_tokens, moe.num_experts})));
    ASSIGN_OR_RETURN(routed_, backend_->NewTensor(Shape({routes, spec_.hidden_size})));
    ASSIGN_OR_RETURN(gate_, backend_->NewTensor(width));
    ASSIGN_OR_RETURN(up_, backend_->NewTensor(width));
    if (moe.shared_intermediate_size > 0) {
      const Shape shared({limits.max_tokens, moe.shared_intermediate_size});
      ASSIGN_OR_RETURN(shared_gate_, backend_->NewTensor(shared));
      ASSIGN_OR_RETURN(shared_up_, backend_->NewTensor(shared));
    }
    routes_.Reserve(routes, moe.num_experts);
    return dense_ == nullptr ? absl::OkStatus() : dense_->Allocate(limits);
  }

  void Load(const TensorNames& names, WeightLoader& loader) {
    const std::vector<bool>& with_experts = spec_.moe.layers;
    for (int i = 0; i < spec_.num_layers; ++i) {
      Layer& layer = layers_.emplace_back();
      if (loader.Wants(i) && with_experts[i]) LoadExperts(names, i, loader, layer);
    }
    if (std::find(with_experts.begin(), with_experts.end(), false) != with_experts.end()) {
      dense_ = LoadGatedFeedForward(spec_, names, loader, backend_);
    }
  }

  absl::Status Run(const FeedForwardStep& step) override {
    if (!spec_.HasExperts(step.layer)) return dense_->Run(step);
    const Layer& layer = layers_[step.layer];
    const MoeSpec& moe = spec_.moe;
    const int64_t tokens = step.normed.shape[0];
    const MutableTensorView logits = logits_->Rows(tokens);
    RETURN_IF_ERROR(
        backend_->Linear({.in = step.normed, .weight = layer.router.get(), .out = logits}));
    routes_.Resize(tokens * moe.num_experts_per_tok);
    RETURN_IF_ERROR(backend_->Route({.logits = logits,
                                     .score = moe.score,
                                     .bias = layer.router_bias.get(),
                                     .groups = moe.groups,
                                     .top_k = moe.num_experts_per_tok,
                                     .normalize = moe.norm_topk_prob,
                                     .experts = routes_.experts(),
                                     .weights = routes_.weights()}));
    for (float& weight : routes_.weights()) weight *= moe.scaling;
    routes_.Sort(moe.num_experts_per_tok, moe.num_experts);
    const MutableTensorView routed = routed_->Rows(tokens * moe.num_experts_per_tok);
    RETURN_IF_ERROR(
        backend_->GatherRows({.in = step.normed, .rows = routes_.tokens(), .out = routed}));
    for (int e = 0; e < moe.num_experts; ++e) {
      if (routes_.Count(e) == 0) continue;
      const MutableTensorView rows = Part(routed, routes_.Begin(e), routes_.Count(e));
      RETURN_IF_ERROR(RunExpert(layer.experts[e], rows,
                                {.gate = gate_->Rows(rows.shape[0]),
                                 .up = up_->Rows(rows.shape[0]),
                                 .accumulate = false,
                                 .out = rows}));
    }
    RETURN_IF_ERROR(backend_->CombineRows({.in = routed,
                                           .terms = moe.num_experts_per_tok,
                                           .rows = routes_.rows(),
                                           .weights = routes_.weights(),
                                           .accumulate = step.accumulate,
                                           .out = step.out}));
    if (layer.shared.down == nullptr) return absl::OkStatus();
    return RunExpert(layer.shared, step.normed,
                     {.gate = shared_gate_->Rows(tokens),
                      .up = shared_up_->Rows(tokens),
                      .accumulate = true,
                      .out = step.out});
  }

 private:
  void LoadExperts(const TensorNames& names, int i, WeightLoader& loader, Layer& layer) {
    const int64_t hidden = spec_.hidden_size;
    const int64_t width = spec_.moe.intermediate_size;
    layer.router = loader.Matrix(LayerName(names.router, i), spec_.moe.num_experts, hidden);
    if (spec_.moe.choice_bias) {
      layer.router_bias = loader.Vector(LayerName(names.router_bias, i), spec_.moe.num_experts);
    }
    if (const int64_t shared = spec_.moe.shared_intermediate_size; shared > 0) {
      layer.shared.gate = loader.Matrix(LayerName(names.shared_gate, i), shared, hidden);
      layer.shared.up = loader.Matrix(LayerName(names.shared_up, i), shared, hidden);
      layer.shared.down = loader.Matrix(LayerName(names.shared_down, i), hidden, shared);
    }
    layer.experts.resize(spec_.moe.num_experts);
    const auto load = [&](absl::string_view stacked, absl::string_view single, int64_t rows,
                          int64_t cols, WeightPtr Expert::*weight) {
      const bool one_by_one = stacked.empty() || loader.Has(ExpertName(single, i, 0));
      for (int e = 0; e < spec_.moe.num_experts; ++e) {
        layer.experts[e].*weight =
            one_by_one ? loader.Matrix(ExpertName(single, i, e), rows, cols)
                       : loader.MatrixOf(LayerName(stacked, i),
                                         Shape({spec_.moe.num_experts, rows, cols}), e);
      }
    };
    load(names.stacked_gate, names.expert_gate, width, hidden, &Expert::gate);
    load(names.stacked_up, names.expert_up, width, hidden, &Expert::up);
    load(names.stacked_down, names.expert_down, hidden, width, &Expert::down);
  }

  struct Buffers {
    MutableTensorView gate, up;  // [rows, width of the expert]
    bool accumulate = false;     // added to `out`; else written
    MutableTensorView out;       // [rows, hidden_size]; may be the input, unless accumulate
  };

  absl::Status RunExpert(const Expert& expert, const TensorView& rows, const Buffers& to) {
    RETURN_IF_ERROR(backend_->GatedLinear({.in = rows,
                                           .gate = expert.gate.get(),
                                           .up = expert.up.get(),
                                           .activation = spec_.activation,
                                           .up_out = to.up,
                                           .out = to.gate}));
    return backend_->Linear(
        {.in = to.gate, .weight = expert.down.get(), .accumulate = to.accumulate, .out = to.out});
  }

  const ModelSpec spec_;
  Backend* const backend_;
  std::unique_ptr<FeedForward> dense_;  // null if every layer has experts
  std::vector<Layer> layers_;
  Routes routes_;
  std::unique_ptr<DeviceTensor> logits_;     // [max_tokens, num_experts]
  std::unique_ptr<DeviceTensor> routed_;     // [max_tokens · num_experts_per_tok, hidden_size]
  std::unique_ptr<DeviceTensor> gate_, up_;  // [max_tokens, moe.intermediate_size]
  // [max_tokens, moe.shared_intermediate_size], or null
  std::unique_ptr<DeviceTensor> shared_gate_, shared_up_;
};

}  // namespace

std::unique_ptr<FeedForward> LoadMoeFeedForward(const ModelSpec& spec, const TensorNames& names,
                                                WeightLoader& loader, Backend* backend) {
  auto feed_forward = std::make_unique<MoeFeedForward>(spec, backend);
  feed_forward->Load(names, loader);
  return feed_forward;
}

}  // namespace transmla
