// All of the source model that recovery does not train: norms, feed-forward blocks, embedding and
// output, and, where queries and keys are normed, the projections before those norms. Matrices that
// fit a bound are decoded once; the others from the source's file when they are needed, and dropped
// again.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_MODEL_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/convert/source_weights.h"
#include "engine/linalg/float_product.h"

namespace transmla {

// x · weight / rms(x) of each row, rms² = mean(x²) + eps.
FloatMatrix RmsNorm(const FloatMatrix& in, const std::vector<float>& weight, float eps);
// The gradient of `in` from that of the result.
FloatMatrix RmsNormBackward(const FloatMatrix& in, const std::vector<float>& weight, float eps,
                            const FloatMatrix& out_gradient);

// Adds `bias` to each row.
void AddToRows(const std::vector<float>& bias, FloatMatrix& rows);

// Rows of a matrix, the model's own or kept by it.
struct DecodedRows {
  FloatMatrix own;
  FloatView view;
};

// Immutable, so thread-safe; the weights must outlive it. Errors of its methods: DataLoss, naming
// the tensor, if an element is not finite.
class FrozenModel {
 public:
  // Keeps as many matrices as fit `kept_bytes` decoded. NotFound, naming it, if the source lacks a
  // tensor.
  static absl::StatusOr<FrozenModel> Create(const SourceWeights& weights, int64_t kept_bytes);

  const ModelSpec& spec() const { return weights_->spec(); }

  // Tensors under the names of docs/checkpoint_format.md: all of a matrix, and a vector, as the
  // result has it (norms whole).
  absl::StatusOr<DecodedRows> Whole(const std::string& name) const;
  absl::StatusOr<std::vector<float>> Vector(const std::string& name) const;
  // A product with such a matrix [out, in]: rows · weightᵀ, or rows · weight.
  absl::StatusOr<FloatMatrix> Multiply(const FloatView& rows, const std::string& name,
                                       Transpose transpose_weight) const;

  // Rows of the embedding for `ids`, scaled, [ids, D].
  absl::StatusOr<FloatMatrix> Embed(absl::Span<const int32_t> ids) const;
  absl::StatusOr<std::vector<float>> FinalNorm() const;
  // Rows [begin, begin + count) of the matrix that gives logits, [count, D].
  absl::StatusOr<DecodedRows> OutputRows(int64_t begin, int64_t count) const;

 private:
  explicit FrozenModel(const SourceWeights& weights) : weights_(&weights) {}
  absl::StatusOr<DecodedRows> Rows(absl::string_view name, int64_t begin, int64_t count) const;

  struct Stored {
    TensorView view;
    std::string source_name;
    float offset;                                // KeptTensor's
    std::shared_ptr<const FloatMatrix> decoded;  // null if not kept
  };

  const SourceWeights* weights_;
  absl::flat_hash_map<std::string, Stored> tensors_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_FROZEN_MODEL_H_
