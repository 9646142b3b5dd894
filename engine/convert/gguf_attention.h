// A converted layer's attention as the tensors of a GGUF file (docs/checkpoint_format.md, "GGUF").
#ifndef TRANSMLA_ENGINE_CONVERT_GGUF_ATTENTION_H_
#define TRANSMLA_ENGINE_CONVERT_GGUF_ATTENTION_H_

#include <map>
#include <string>
#include <vector>

#include "engine/convert/attention_weights.h"
#include "engine/convert/latent_checkpoint.h"
#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// Names, types and shapes of the new tensors of layer `layer`, in the order of GgufLatentTensors.
// `dtype` is F32, F16, BF16 or Q8_0. Of a block type, what it cannot hold is BF16: rows that are
// not whole blocks, and W_UK and W_UV, which run unquantised. Vectors are always F32.
std::vector<TensorInfo> GgufLatentInfos(int layer, const ModelSpec& source, const MlaSpec& mla,
                                        const LatentBiases& biases, DType dtype);

// The type that each of a layer's new matrices is written as, by its name: {"attn_q", "q8_0"}.
std::map<std::string, std::string> GgufMatrixTypes(const ModelSpec& source, const MlaSpec& mla,
                                                   DType dtype);

struct GgufLatentTensor {
  std::string name;
  std::vector<float> values;  // row-major
};

// Those tensors, without o_proj, which the source passes on.
std::vector<GgufLatentTensor> GgufLatentTensors(int layer, const LatentWeights& weights,
                                                const MlaSpec& mla);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_GGUF_ATTENTION_H_
