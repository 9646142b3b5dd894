#include "engine/convert/kept_tensor.h"

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/model/family.h"

namespace transmla {
namespace {

// The patterns of one of an expert's matrices, in the source and in the result.
struct Patterns {
  absl::string_view single, stacked, result;
};

void AppendExperts(const CheckpointReader& source, const Patterns& patterns, int layer,
                   int num_experts, std::vector<KeptTensor>& kept) {
  const bool one_by_one =
      patterns.stacked.empty() || source.Has(ExpertName(patterns.single, layer, 0));
  for (int e = 0; e < num_experts; ++e) {
    kept.push_back(
        {ExpertName(patterns.result, layer, e),
         one_by_one ? ExpertName(patterns.single, layer, e) : LayerName(patterns.stacked, layer),
         one_by_one ? -1 : e});
  }
}

}  // namespace

absl::StatusOr<TensorView> SourceView(const CheckpointReader& source, const KeptTensor& kept) {
  ASSIGN_OR_RETURN(const TensorView view, source.Tensor(kept.source_name));
  if (kept.expert < 0) return view;
  if (view.shape.rank() != 3 || kept.expert >= view.shape[0]) {
    return absl::InvalidArgumentError(
        absl::StrCat(source.path(), ": tensor ", kept.source_name, " is ", view.shape.ToString(),
                     "; it must hold a matrix for expert ", kept.expert));
  }
  const int64_t bytes = view.shape[1] * RowBytes(view.dtype, view.shape[2]);
  return TensorView{view.as<char>() + kept.expert * bytes, view.dtype,
                    Shape({view.shape[1], view.shape[2]})};
}

absl::StatusOr<std::vector<KeptTensor>> KeptExperts(const CheckpointReader& source,
                                                    const ModelSpec& spec) {
  std::vector<KeptTensor> kept;
  ASSIGN_OR_RETURN(const Family* family, FindFamily(source));
  const TensorNames& from = family->Names(source.format());
  const TensorNames& to = HuggingFaceNames();
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    if (!spec.HasExperts(layer)) continue;
    kept.push_back({LayerName(to.router, layer), LayerName(from.router, layer)});
    for (const Patterns& patterns :
         {Patterns{from.expert_gate, from.stacked_gate, to.expert_gate},
          Patterns{from.expert_up, from.stacked_up, to.expert_up},
          Patterns{from.expert_down, from.stacked_down, to.expert_down}}) {
      AppendExperts(source, patterns, layer, spec.moe.num_experts, kept);
    }
  }
  for (const KeptTensor& tensor : kept) RETURN_IF_ERROR(SourceView(source, tensor).status());
  return kept;
}

}  // namespace transmla
