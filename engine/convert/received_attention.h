// How much of its attention a text gives each of its positions.
#ifndef TRANSMLA_ENGINE_CONVERT_RECEIVED_ATTENTION_H_
#define TRANSMLA_ENGINE_CONVERT_RECEIVED_ATTENTION_H_

#include <vector>

#include "engine/linalg/float_product.h"
#include "engine/model/model_spec.h"

namespace transmla {

// For the positions s of one sequence, the root of Σ a² over all heads and all positions that see
// s, where a is the weight of softmax; scaled to a mean of 1. An error at s counts in later
// outputs with the square of a; the root lies between that and counting all positions alike
// (docs/conversion.md, section 11). `q` [tokens, H·d] and `k` [tokens, G·d] are those of layer
// `layer` before RoPE, in the layout of halves.
std::vector<float> ReceivedAttention(const ModelSpec& spec, int layer, FloatMatrix q,
                                     FloatMatrix k);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECEIVED_ATTENTION_H_
