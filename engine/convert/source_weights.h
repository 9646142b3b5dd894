// SourceWeights reads a grouped-query model's weights under Hugging Face names and in Hugging Face
// layout, whatever file they are in.
//
// Names are the family's; projections that share a matrix are taken apart; rows of q and k that
// GGUF's llama architecture stores as rotary neighbours, and those of heads that RoPE turns in
// part, are put into halves of the whole head. Quantised weights are decoded one layer's attention
// at a time; nothing else is copied.
#ifndef TRANSMLA_ENGINE_CONVERT_SOURCE_WEIGHTS_H_
#define TRANSMLA_ENGINE_CONVERT_SOURCE_WEIGHTS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/head_order.h"
#include "engine/convert/kept_tensor.h"
#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

struct Family;
struct TensorNames;

// Immutable; keeps the checkpoint open.
class SourceWeights {
 public:
  // Unimplemented, naming it, if the checkpoint has a tensor whose meaning is unknown: dropping it
  // would change the model. InvalidArgument if the model is not grouped-query attention with RoPE
  // that conversion can put into halves; errors of KeptTensors.
  static absl::StatusOr<SourceWeights> Create(std::shared_ptr<const CheckpointReader> checkpoint,
                                              const ModelSpec& spec);

  const CheckpointReader& checkpoint() const { return *checkpoint_; }
  const std::shared_ptr<const CheckpointReader>& shared_checkpoint() const { return checkpoint_; }
  // The source's features, with inverse frequencies for all pairs of a head: 0 where it does not
  // turn.
  const ModelSpec& spec() const { return spec_; }
  absl::Span<const KeptTensor> kept() const { return kept_; }
  // From heads as the source's projections give them to those of Attention().
  const HeadOrder& head_order() const { return head_order_; }

  // Decoded to float64. DataLoss, naming the tensor, if an element is not finite.
  absl::StatusOr<GqaWeights> Attention(int layer) const;
  // The output projection, [D, H·d]; alike.
  absl::StatusOr<Matrix> Output(int layer) const;
  // Largest Euclidean norm that the hidden state which a layer's attention reads can have: its
  // elements are those of a vector of root mean square 1 times the norm's weights.
  absl::StatusOr<double> HiddenNormBound(int layer) const;

 private:
  SourceWeights(std::shared_ptr<const CheckpointReader> checkpoint, const Family& family,
                const ModelSpec& spec);

  enum class Which { kQuery, kKey, kValue };

  absl::Status SetHeadOrder();
  // Unimplemented if a tensor is neither kept nor replaced nor known to be of no use.
  absl::Status CheckAllKnown() const;
  // `part` is "weight" or "bias".
  std::string ProjectionName(int layer, Which which, absl::string_view part) const;
  int64_t Rows(Which which) const;  // of a projection's weight and bias
  // The row in the file of row `row` as Attention() has it.
  int64_t FileRow(Which which, int64_t row) const;
  // What that row is multiplied by.
  double RowScale(Which which, int64_t row) const;
  // A matrix or vector of the shape.
  absl::StatusOr<std::vector<float>> Read(const std::string& name, const Shape& wanted) const;
  absl::StatusOr<Matrix> Projection(int layer, Which which) const;
  // Empty if the model has no biases.
  absl::StatusOr<std::vector<double>> Bias(int layer, Which which) const;
  // What is behind the norms of queries and keys.
  GqaWeights BehindNorms() const;

  std::shared_ptr<const CheckpointReader> checkpoint_;
  const TensorNames* names_;  // static
  bool interleaved_;
  ModelSpec spec_;
  HeadOrder head_order_;
  std::vector<KeptTensor> kept_;
};

// `tensor`'s elements as floats, in order. DataLoss, naming `name`, if one is not finite.
absl::StatusOr<std::vector<float>> DecodeFinite(const TensorView& tensor, absl::string_view name);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_SOURCE_WEIGHTS_H_
