// SourceWeights reads a grouped-query model's weights under Hugging Face names and in Hugging Face
// layout, whatever file they are in.
//
// GGUF names are translated, and the rows of q and k that GGUF's llama architecture stores as
// rotary neighbours are put back into halves. Quantised weights are decoded one layer's attention
// at a time; nothing else is copied.
#ifndef TRANSMLA_ENGINE_CONVERT_SOURCE_WEIGHTS_H_
#define TRANSMLA_ENGINE_CONVERT_SOURCE_WEIGHTS_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/kept_tensor.h"
#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// Immutable; keeps the checkpoint open.
class SourceWeights {
 public:
  // Unimplemented, naming it, if the model has a feature that conversion would lose, or the
  // checkpoint a tensor whose meaning is unknown: dropping either would change the model.
  // InvalidArgument if the model is not grouped-query attention with RoPE over whole heads.
  static absl::StatusOr<SourceWeights> Create(std::shared_ptr<const CheckpointReader> checkpoint,
                                              const ModelSpec& spec);

  const CheckpointReader& checkpoint() const { return *checkpoint_; }
  const std::shared_ptr<const CheckpointReader>& shared_checkpoint() const { return checkpoint_; }
  const ModelSpec& spec() const { return spec_; }
  absl::Span<const KeptTensor> kept() const { return kept_; }

  // Decoded to float64. DataLoss, naming the tensor, if an element is not finite.
  absl::StatusOr<GqaWeights> Attention(int layer) const;
  // The output projection, [D, H·d]; alike.
  absl::StatusOr<Matrix> Output(int layer) const;
  // Largest Euclidean norm that the hidden state which a layer's attention reads can have: its
  // elements are those of a vector of root mean square 1 times the norm's weights.
  absl::StatusOr<double> HiddenNormBound(int layer) const;

 private:
  SourceWeights(std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec)
      : checkpoint_(std::move(checkpoint)), spec_(spec) {}

  // The projection `which` ('q', 'k' or 'v') of a layer; `part` is "weight" or "bias".
  std::string ProjectionName(int layer, char which, absl::string_view part) const;
  absl::StatusOr<Matrix> Projection(int layer, char which) const;
  int64_t Rows(char which) const;  // of a projection's weight and bias
  absl::Status CheckShape(absl::string_view name, const Shape& shape, const Shape& wanted) const;
  // Empty if the model has no biases.
  absl::StatusOr<std::vector<double>> Bias(int layer, char which) const;
  bool HasInterleavedRows(char which) const;

  std::shared_ptr<const CheckpointReader> checkpoint_;
  ModelSpec spec_;
  std::vector<KeptTensor> kept_;
};

// The Hugging Face name of a GGUF tensor of the llama family of layouts; empty if unknown.
std::string HuggingFaceName(absl::string_view gguf_name);

// `tensor`'s elements as floats, in order. DataLoss, naming `name`, if one is not finite.
absl::StatusOr<std::vector<float>> DecodeFinite(const TensorView& tensor, absl::string_view name);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_SOURCE_WEIGHTS_H_
