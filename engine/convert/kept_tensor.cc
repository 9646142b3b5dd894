#include "engine/convert/kept_tensor.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/family.h"

namespace transmla {
namespace {

// A name, in each of the formats.
using NameField = absl::string_view TensorNames::*;

class Collector {
 public:
  Collector(const CheckpointReader& source, const Family& family, const ModelSpec& spec)
      : source_(source),
        spec_(spec),
        from_(family.Names(source.format())),
        to_(kTransMla.Names(CheckpointFormat::kSafetensors)),
        to_gguf_(kTransMla.Names(CheckpointFormat::kGguf)),
        norm_offset_(family.NormOffset(source.format())) {}

  std::vector<KeptTensor> Collect() {
    Whole(&TensorNames::embedding);
    Norm(&TensorNames::final_norm);
    if (!spec_.tie_word_embeddings) Whole(&TensorNames::output);
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
  // One of an expert's matrices: a tensor for each, or one of all.
  struct ExpertPart {
    NameField single, stacked;
  };

  KeptTensor Named(NameField field, absl::string_view source_pattern,
                   absl::string_view suffix) const {
    return {.name = absl::StrCat(LayerName(to_.*field, layer_), suffix),
            .source_name = absl::StrCat(LayerName(source_pattern, layer_), suffix),
            .gguf_name = absl::StrCat(LayerName(to_gguf_.*field, layer_), suffix)};
  }
  void Whole(NameField field, absl::string_view suffix = "") {
    kept_.push_back(Named(field, from_.*field, suffix));
  }
  void Norm(NameField field) {
    Whole(field);
    kept_.back().offset = norm_offset_;
  }
  // Weight and, if there is one, bias of a projection.
  void Projection(NameField stem, bool bias) {
    Whole(stem, ".weight");
    if (bias) Whole(stem, ".bias");
  }

  void CollectNorms() {
    Norm(&TensorNames::attention_norm);
    Norm(&TensorNames::feed_forward_norm);
    if (!spec_.post_norms) return;
    Norm(&TensorNames::post_attention_norm);
    Norm(&TensorNames::post_feed_forward_norm);
  }

  void CollectAttention() {
    Projection(&TensorNames::attention_output, spec_.output_bias);
    if (!spec_.qk_norm) return;
    Projection(&TensorNames::q, spec_.qkv_bias);
    Projection(&TensorNames::k, spec_.qkv_bias);
    Projection(&TensorNames::v, spec_.qkv_bias);
    Norm(&TensorNames::q_norm);
    Norm(&TensorNames::k_norm);
  }

  void CollectFeedForward() {
    if (from_.gate_up.empty()) {
      Whole(&TensorNames::gate);
      Whole(&TensorNames::up);
    } else {
      int part = 0;
      for (const NameField field : {&TensorNames::gate, &TensorNames::up}) {
        kept_.push_back(Named(field, from_.gate_up, ""));
        kept_.back().part = part++;
        kept_.back().parts = 2;
      }
    }
    Whole(&TensorNames::down);
  }

  void CollectExperts() {
    Whole(&TensorNames::router);
    for (const ExpertPart& matrix :
         {ExpertPart{&TensorNames::expert_gate, &TensorNames::stacked_gate},
          ExpertPart{&TensorNames::expert_up, &TensorNames::stacked_up},
          ExpertPart{&TensorNames::expert_down, &TensorNames::stacked_down}}) {
      const absl::string_view own = from_.*matrix.single, stacked = from_.*matrix.stacked;
      const bool single = stacked.empty() || source_.Has(ExpertName(own, layer_, 0));
      for (int e = 0; e < spec_.moe.num_experts; ++e) {
        kept_.push_back(
            {.name = ExpertName(to_.*matrix.single, layer_, e),
             .source_name = single ? ExpertName(own, layer_, e) : LayerName(stacked, layer_),
             .gguf_name = LayerName(to_gguf_.*matrix.stacked, layer_),
             .gguf_stacked = true,
             .part = single ? 0 : e,
             .parts = single ? 1 : spec_.moe.num_experts});
      }
    }
  }

  const CheckpointReader& source_;
  const ModelSpec& spec_;
  const TensorNames& from_;
  const TensorNames& to_;
  const TensorNames& to_gguf_;
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
