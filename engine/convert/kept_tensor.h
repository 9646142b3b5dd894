// What conversion passes on unchanged, and under which name: all but the projections of attention.
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
  std::string source_name;  // as in the file: "blk.0.ffn_up.weight"
  // Which matrix of a source tensor that holds those of all experts; -1: the whole tensor.
  int expert = -1;
};

// Its bytes in the source. NotFound or InvalidArgument, naming it, if the source has no such
// tensor or matrix.
absl::StatusOr<TensorView> SourceView(const CheckpointReader& source, const KeptTensor& kept);

// Routers and experts of all layers that have them, under DeepSeek's names, whatever the source
// calls them; a source tensor of all experts of a layer becomes one for each. As SourceView if one
// is missing.
absl::StatusOr<std::vector<KeptTensor>> KeptExperts(const CheckpointReader& source,
                                                    const ModelSpec& spec);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_KEPT_TENSOR_H_
