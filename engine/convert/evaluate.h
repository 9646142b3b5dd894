// Perplexity of a model on token sequences, and how far a result is from its source.
#ifndef TRANSMLA_ENGINE_CONVERT_EVALUATE_H_
#define TRANSMLA_ENGINE_CONVERT_EVALUATE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/backend.h"
#include "engine/base/mapped_file.h"
#include "engine/convert/report.h"
#include "engine/model/decoder.h"
#include "engine/model/layer_decoder.h"

namespace transmla {

struct PerplexityResult {
  double perplexity = 0;  // exp of the mean loss
  int64_t tokens = 0;     // positions predicted: all but the first of each sequence
};

// Called after each sequence with the number done; false ends the evaluation with Cancelled.
using EvaluationProgress = std::function<bool(int done, int total)>;

// Cuts `text_ids` into sequences of `length` tokens one after the other, at most `sequences`.
// InvalidArgument, naming both numbers, if the text has fewer than one whole sequence.
absl::StatusOr<std::vector<std::vector<int32_t>>> CutSequences(absl::Span<const int32_t> text_ids,
                                                               int sequences, int length);

// What a model that is evaluated must have been loaded with at least, for sequences of `length`
// tokens.
StepLimits EvaluationLimits(int length);

// A model, alone or one of two side by side.
struct EvaluatedModel {
  Decoder* decoder = nullptr;
  Backend* backend = nullptr;
  // Whether its tokens attend in expanded form; its limits must allow that.
  bool expanded_attention = false;
};

// Runs each sequence alone from position 0 with a cache of type `cache_dtype`; loss over all
// positions but the first. InvalidArgument if there is nothing to predict; Cancelled if `progress`
// says so.
absl::StatusOr<PerplexityResult> EvaluatePerplexity(
    const EvaluatedModel& model, absl::Span<const std::vector<int32_t>> sequences,
    DType cache_dtype, const EvaluationProgress& progress = nullptr);

// A model that has been run over the sequences already, a layer at a time (LayerPass::Run): its
// ends, and the residual streams behind its last layer. All must outlive the evaluation.
struct EvaluatedStreams {
  EndsDecoder* ends = nullptr;  // within EvaluationLimits; on a backend of its own
  const ModelSpec* spec = nullptr;
  const MappedFile* streams = nullptr;
};

// Its perplexity, as EvaluatePerplexity gives it. `threads` sum up.
absl::StatusOr<PerplexityResult> StreamsPerplexity(const EvaluatedStreams& model,
                                                   absl::Span<const std::vector<int32_t>> sequences,
                                                   int threads,
                                                   const EvaluationProgress& progress = nullptr);

// As CompareModels. `threads` compare.
absl::StatusOr<QualityReport> CompareStreams(const EvaluatedStreams& source,
                                             const EvaluatedStreams& result,
                                             absl::Span<const std::vector<int32_t>> sequences,
                                             int threads,
                                             const EvaluationProgress& progress = nullptr);

// Runs both over each sequence, step by step, and compares their logits at every position;
// perplexities as EvaluatePerplexity gives them. InvalidArgument if the vocabularies differ in
// size.
absl::StatusOr<QualityReport> CompareModels(const EvaluatedModel& source,
                                            const EvaluatedModel& result,
                                            absl::Span<const std::vector<int32_t>> sequences,
                                            DType cache_dtype,
                                            const EvaluationProgress& progress = nullptr);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_EVALUATE_H_
