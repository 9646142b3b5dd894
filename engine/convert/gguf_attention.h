// A converted layer's attention as the tensors of a GGUF file (docs/checkpoint_format.md, "GGUF").
#ifndef TRANSMLA_ENGINE_CONVERT_GGUF_ATTENTION_H_
#define TRANSMLA_ENGINE_CONVERT_GGUF_ATTENTION_H_

#include <map>
#include <string>
#include <vector>

#include "engine/convert/attention_weights.h"
#include "engine/convert/latent_checkpoint.h"
#include "engine/convert/options.h"
#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// Types of the new matrices. Vectors are always F32.
struct GgufTypes {
  // BF16 in its place where rows are not whole blocks of it.
  DType matrices = DType::kQ8_0;
  DType latent = DType::kQ8_0;  // of kv_a and q_a; alike
  // Of W_UK and W_UV, and of the maps behind norms of queries and keys; no block type, since they
  // run unquantised.
  DType per_head = DType::kBF16;
  bool harmless_norms = false;  // norms of latents, which are shrunk (llama_cpp.h)
};

// For --dtype `dtype`, F32, F16, BF16 or Q8_0. Shrunk latents are F32 or BF16: their weights are
// below the range of F16, and of the scales of Q8_0.
GgufTypes ResolveGgufTypes(DType dtype, OutputFormat format);

// Names, types and shapes of the new tensors of layer `layer`, in the order of GgufLatentTensors;
// with `own_output`, the output projection is one of them.
std::vector<TensorInfo> GgufLatentInfos(int layer, const ModelSpec& source, const MlaSpec& mla,
                                        const LatentBiases& biases, bool own_output,
                                        const GgufTypes& types);

// The type that each of a layer's new matrices is written as, by its name: {"attn_q", "q8_0"}.
std::map<std::string, std::string> GgufMatrixTypes(const ModelSpec& source, const MlaSpec& mla,
                                                   const GgufTypes& types);

struct GgufLatentTensor {
  std::string name;
  std::vector<float> values;  // row-major
};

// Those tensors, without o_proj, which the source passes on. `norm_weight` is that of norms of
// latents; 0: there are none.
std::vector<GgufLatentTensor> GgufLatentTensors(int layer, const LatentWeights& weights,
                                                const MlaSpec& mla, float norm_weight);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_GGUF_ATTENTION_H_
