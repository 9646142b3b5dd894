// Perplexity of a model on disk over a text file: what `transmla eval` prints.
#ifndef TRANSMLA_ENGINE_EVALUATE_MODEL_H_
#define TRANSMLA_ENGINE_EVALUATE_MODEL_H_

#include <string>

#include "absl/status/statusor.h"

#include "engine/convert/evaluate.h"
#include "engine/tensor/dtype.h"

namespace transmla {

struct EvaluateModelOptions {
  std::string model_path;  // GGUF file or folder
  std::string text_path;   // UTF-8
  int sequences = 40;      // cut one after the other from the tokenised text
  int length = 512;        // tokens a sequence
  std::string device = "cpu";
  int threads = 0;                     // 0: all usable cores
  DType cache_dtype = DType::kF32;     // the model's own quality, not the cache's
  bool quantised_activations = false;  // as CpuOptions: what serving's products cost in quality
  // Tokens attend in expanded form (MlaExpandedAttention): what that costs in quality.
  bool expanded_attention = false;
};

// InvalidArgument for expanded attention of a model without latents that could be expanded.
// `progress` as EvaluationProgress says; may be empty.
absl::StatusOr<PerplexityResult> EvaluateModel(const EvaluateModelOptions& options,
                                               const EvaluationProgress& progress);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_EVALUATE_MODEL_H_
