#include "engine/convert/loaded_model.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"

namespace transmla {

absl::StatusOr<LoadedModel> LoadModel(const ConversionContext& context,
                                      std::shared_ptr<const CheckpointReader> checkpoint,
                                      const StepLimits& limits) {
  LoadedModel model;
  ASSIGN_OR_RETURN(model.backend, context.make_backend());
  ASSIGN_OR_RETURN(model.decoder, LoadDecoder(std::move(checkpoint), model.backend.get(), limits));
  return model;
}

StepLimits LimitsForBoth(const StepLimits& a, const StepLimits& b) {
  return {.max_tokens = std::max(a.max_tokens, b.max_tokens),
          .max_sequences = std::max(a.max_sequences, b.max_sequences),
          .max_logit_tokens = std::max(a.max_logit_tokens, b.max_logit_tokens),
          .max_context_tokens = std::max(a.max_context_tokens, b.max_context_tokens),
          .expanded_attention = a.expanded_attention || b.expanded_attention};
}

}  // namespace transmla
