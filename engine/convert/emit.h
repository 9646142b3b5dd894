// Writes a converted model's files into a folder: weights as safetensors, config.json, tokenizer.
//
// docs/checkpoint_format.md is the format. Attention is made and written one layer at a time; all
// other tensors are decoded and rounded row by row: memory stays that of one layer.
#ifndef TRANSMLA_ENGINE_CONVERT_EMIT_H_
#define TRANSMLA_ENGINE_CONVERT_EMIT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/base/file.h"
#include "engine/convert/attention_weights.h"
#include "engine/convert/latent_checkpoint.h"
#include "engine/convert/options.h"
#include "engine/convert/source_weights.h"
#include "engine/model/model_spec.h"

namespace transmla {

struct EmitOptions {
  MlaSpec mla;
  LatentBiases biases;
  double attention_scale = 0;
  DType dtype = DType::kBF16;  // F32, F16 or BF16; of GGUF files also Q8_0
  OutputFormat format = OutputFormat::kTransMla;
  int64_t max_shard_bytes = 0;  // of safetensors
  bool own_output = false;      // the layers' weights have output projections of their own
};

// What the source passes on to the result.
std::vector<KeptTensor> PassedOn(const SourceWeights& weights, const EmitOptions& options);

// What the weights come from.
struct EmitSource {
  // Inverse frequencies of each layer, [layers][qk_rope_head_dim / 2].
  std::vector<std::vector<float>> inv_freq;
  // The attention of a layer; asked for once each, in order.
  std::function<absl::StatusOr<LatentWeights>(int layer)> layer;
  // Called after each layer with the number written. May be empty.
  std::function<absl::Status(int layers_written)> progress;
};

// `folder` exists and is empty. DataLoss, naming the tensor, if a weight is not finite;
// ResourceExhausted if the disk is full; what `source` returns otherwise. The folder's state after
// an error is undefined: the caller removes it.
absl::Status WriteLatentModel(FileSystem& files, const std::string& folder,
                              const SourceWeights& weights, const EmitSource& source,
                              const EmitOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_EMIT_H_
