// A checkpoint tensor after a backend took it: opaque bytes in the backend's own layout, with the
// logical shape.
#ifndef TRANSMLA_ENGINE_BACKEND_PACKED_WEIGHT_H_
#define TRANSMLA_ENGINE_BACKEND_PACKED_WEIGHT_H_

#include <cstdint>
#include <memory>

#include "engine/tensor/tensor_view.h"

namespace transmla {

enum class WeightRole {
  kLinear,         // [out_features, in_features]
  kEmbedding,      // [vocab_size, hidden_size]: rows are looked up
  kTiedEmbedding,  // [vocab_size, hidden_size]: the embedding table that is the output projection
                   // too
  kPerHead,        // [heads, out_features, in_features]: one matrix a head
  kVector,         // [n]: norm weights, biases, inverse frequencies; kept as F32
};

// What Pack is given. Quantised types stay quantised in memory; a backend may keep pointing at
// `view` instead of copying, and then holds `owner`.
struct WeightSource {
  TensorView view;                    // host memory
  std::shared_ptr<const void> owner;  // keeps view.data alive
  WeightRole role = WeightRole::kLinear;
};

// Immutable; shared by the layers that use it (tied embeddings).
class PackedWeight {
 public:
  virtual ~PackedWeight() = default;
  virtual const Shape& shape() const = 0;
  virtual DType dtype() const = 0;
  // Bytes on the device, for the memory report.
  virtual int64_t bytes() const = 0;
  // Whether WeightSource::view is still read.
  virtual bool refers_to_source() const = 0;
};

using WeightPtr = std::shared_ptr<const PackedWeight>;

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_PACKED_WEIGHT_H_
