#include "engine/convert/kept_tensor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/family.h"

namespace transmla {
namespace {

class Collector {
 public:
  Collector(const CheckpointReader& source, const Family& family, const ModelSpec& spec)
      : source_(source),
        spec_(spec),
        from_(family.Names(source.format())),
        to_(kTransMla.Names(CheckpointFormat::kSafetensors)),
        norm_offset_(family.NormOffset(source.format())) {}

  std::vector<KeptTensor> Collect() {
    Whole(to_.embedding, from_.embedding);
    Norm(to_.final_norm, from_.final_norm);
    if (!spec_.tie_word_embeddings) Whole(to_.output, from_.output);
    for (layer_ = 0; layer_ < spec_.num_layers; ++layer_) {
      CollectNorms();
      CollectAttention();
      spec_.HasExperts(layer_) ? CollectExperts() : CollectFeedForward();
    }
    std::stable_partition(kept_.begin(), kept_.end(),
                          [](const KeptTensor& kept) { return kept.offset != 0; });
    return std::move(kept_);
  }

 private:
  // The patterns of one of an expert's matrices, in the source and in the result.
  struct ExpertPatterns {
    absl::string_view single, stacked, result;
  };

  void Whole(absl::string_view to, absl::string_view from) {
    kept_.push_back({.name = LayerName(to, layer_), .source_name = LayerName(from, layer_)});
  }
  void Norm(absl::string_view to, absl::string_view from) {
    Whole(to, from);
    kept_.back().offset = norm_offset_;
  }
  // Weight and, if there is one, bias of a projection.
  void Projection(absl::string_view to, absl::string_view from, bool bias) {
    for (const char* part : {".weight", ".bias"}) {
      if (part == absl::string_view(".bias") && !bias) continue;
      Whole(absl::StrCat(to, part), absl::StrCat(from, part));
    }
  }

  void CollectNorms() {
    Norm(to_.attention_norm, from_.attention_norm);
    Norm(to_.feed_forward_norm, from_.feed_forward_norm);
    if (!spec_.post_norms) return;
    Norm(to_.post_attention_norm, from_.post_attention_norm);
    Norm(to_.post_feed_forward_norm, from_.post_feed_forward_norm);
  }

  void CollectAttention() {
    Projection(to_.attention_output, from_.attention_output, spec_.output_bias);
    if (!spec_.qk_norm) return;
    Projection(to_.q, from_.q, spec_.qkv_bias);
    Projection(to_.k, from_.k, spec_.qkv_bias);
    Projection(to_.v, from_.v, spec_.qkv_bias);
    Norm(to_.q_norm, from_.q_norm);
    Norm(to_.k_norm, from_.k_norm);
  }

  void CollectFeedForward() {
    if (from_.gate_up.empty()) {
      Whole(to_.gate, from_.gate);
      Whole(to_.up, from_.up);
    } else {
      for (const auto& [to, part] : {std::pair{to_.gate, 0}, std::pair{to_.up, 1}}) {
        Whole(to, from_.gate_up);
        kept_.back().part = part;
        kept_.back().parts = 2;
      }
    }
    Whole(to_.down, from_.down);
  }

  void CollectExperts() {
    Whole(to_.router, from_.router);
    for (const ExpertPatterns& patterns :
         {ExpertPatterns{from_.expert_gate, from_.stacked_gate, to_.expert_gate},
          ExpertPatterns{from_.expert_up, from_.stacked_up, to_.expert_up},
          ExpertPatterns{from_.expert_down, from_.stacked_down, to_.expert_down}}) {
      const bool single =
          patterns.stacked.empty() || source_.Has(ExpertName(patterns.single, layer_, 0));
      for (int e = 0; e < spec_.moe.num_experts; ++e) {
        kept_.push_back({.name = ExpertName(patterns.result, layer_, e),
                         .source_name = single ? ExpertName(patterns.single, layer_, e)
                                               : LayerName(patterns.stacked, layer_),
                         .part = single ? 0 : e,
                         .parts = single ? 1 : spec_.moe.num_experts});
      }
    }
  }

  const CheckpointReader& source_;
  const ModelSpec& spec_;
  const TensorNames& from_;
  const TensorNames& to_;
  const float norm_offset_;
  int layer_ = 0;
  std::vector<KeptTensor> kept_;
};

}  // namespace

absl::StatusOr<TensorView> SourceView(const CheckpointReader& source, const KeptTensor& kept) {
  ASSIGN_OR_RETURN(const TensorView view, source.Tensor(kept.source_name));
  if (kept.parts == 1) return view;
  const int64_t rows = view.shape.rows();
  if (view.shape.rank() < 2 || rows % kept.parts != 0 ||
      (view.shape.rank() == 3 && view.shape[0] != kept.parts)) {
    return absl::InvalidArgumentError(absl::StrCat(source.path(), ": tensor ", kept.source_name,
                                                   " is ", view.shape.ToString(), "; it must hold ",
                                                   kept.parts, " matrices one below the other"));
  }
  const int64_t count = rows / kept.parts;
  const int64_t bytes = count * RowBytes(view.dtype, view.shape.cols());
  return TensorView{view.as<char>() + kept.part * bytes, view.dtype,
                    Shape({count, view.shape.cols()})};
}

absl::StatusOr<std::vector<KeptTensor>> KeptTensors(const CheckpointReader& source,
                                                    const ModelSpec& spec) {
  ASSIGN_OR_RETURN(const Family* family, FindFamily(source));
  std::vector<KeptTensor> kept = Collector(source, *family, spec).Collect();
  for (const KeptTensor& tensor : kept) RETURN_IF_ERROR(SourceView(source, tensor).status());
  return kept;
}

}  // namespace transmla
