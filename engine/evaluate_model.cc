#include "engine/evaluate_model.h"

#include <fstream>
#include <memory>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/engine.h"
#include "engine/format/checkpoint.h"
#include "engine/model/decoder.h"
#include "engine/tokenizer/load.h"

namespace transmla {
namespace {

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    return absl::NotFoundError(absl::StrCat("cannot read text file ", path));
  }
  return text.str();
}

}  // namespace

absl::StatusOr<PerplexityResult> EvaluateModel(const EvaluateModelOptions& options,
                                               const EvaluationProgress& progress) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(options.text_path));
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> checkpoint,
                   OpenCheckpoint(options.model_path));
  ASSIGN_OR_RETURN(const LoadedTokenizer loaded, LoadTokenizer(*checkpoint));
  ASSIGN_OR_RETURN(const std::vector<TokenId> ids, loaded.tokenizer->Encode(text, {}));
  ASSIGN_OR_RETURN(const auto sequences, CutSequences(ids, options.sequences, options.length));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Backend> backend,
      CreateBackend(options.device, {.threads = options.threads,
                                     .quantised_activations = options.quantised_activations}));
  if (options.expanded_attention) {
    ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(*checkpoint));
    if (spec.attention != AttentionKind::kMla || spec.mla.qk_nope_head_dim == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.model_path, " has no latents that attention could expand"));
    }
  }
  const StepLimits limits{.max_tokens = options.length,
                          .max_sequences = 1,
                          .max_logit_tokens = options.length,
                          .max_context_tokens = options.length,
                          .expanded_attention = options.expanded_attention};
  ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder,
                   LoadDecoder(checkpoint, backend.get(), limits));
  return EvaluatePerplexity({decoder.get(), backend.get(), options.expanded_attention}, sequences,
                            options.cache_dtype, progress);
}

}  // namespace transmla
