// What conversion passes on unchanged, and under which name.
#ifndef TRANSMLA_ENGINE_CONVERT_KEPT_TENSOR_H_
#define TRANSMLA_ENGINE_CONVERT_KEPT_TENSOR_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// A tensor of the result.
struct KeptTensor {
  std::string name;         // Hugging Face: "model.layers.0.mlp.up_proj.weight"
  std::string source_name;  // as in the source's file: "blk.0.ffn_up.weight"
  std::string gguf_name;    // in a GGUF result: "blk.0.ffn_up.weight"
  // One of the matrices of a tensor of that name, [matrices, rows, cols]: a layer's experts, which
  // follow one another.
  bool gguf_stacked = false;
  // The source tensor holds `parts` of equal numbers of rows, one below the other (experts, gate
  // and up): which of them this is.
  int part = 0;
  int parts = 1;
  // Added to every element: 1 for norms of sources that store their weights less 1. Such a tensor
  // is written as F32, since the sum has more digits than what is stored.
  float offset = 0;
};

// Its bytes in the source, before `offset`. NotFound or InvalidArgument, naming it, if the source
// has no such tensor or part.
absl::StatusOr<TensorView> SourceView(const CheckpointReader& source, const KeptTensor& kept);

// The type of the result's tensor where weights are written as `dtype`.
inline DType KeptDType(const KeptTensor& kept, DType dtype) {
  return kept.offset == 0 ? dtype : DType::kF32;
}

// Everything of the source that the result has too, those with an offset first: embedding, norms,
// feed-forwards, routers and experts, output projections; where heads of queries and keys are
// normed, those norms and the projections before them. All under the names that converted models
// have, whatever the source calls them; what it stores together is taken apart. As SourceView if
// one is missing.
absl::StatusOr<std::vector<KeptTensor>> KeptTensors(const CheckpointReader& source,
                                                    const ModelSpec& spec);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_KEPT_TENSOR_H_
