// Everything that the seam checks before a backend's own code runs: shapes, types, ranges and
// limits, the same for all devices (backend.h).
//
// Each function returns InvalidArgument that names the operation, the argument, its value and what
// was expected. None allocates unless it fails.
#ifndef TRANSMLA_ENGINE_BACKEND_CHECKS_H_
#define TRANSMLA_ENGINE_BACKEND_CHECKS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "engine/backend/kv_store.h"
#include "engine/backend/op_args.h"
#include "engine/backend/packed_weight.h"
#include "engine/backend/ragged_batch.h"

namespace transmla {

// What an operation of the current step is checked against.
struct StepFacts {
  const RaggedBatch& batch;
  DType activation;
};

absl::Status CheckWeight(const WeightSource& source);
absl::Status CheckKvLayout(const KvLayout& layout, int pages);
absl::Status CheckTensorShape(const Shape& shape);
absl::Status CheckLimits(const StepLimits& limits);

// The batch in itself and against the limits. Token ids are compared with the vocabulary by
// CheckEmbedding, page ids with the store by the operations that use one.
absl::Status CheckBatch(const RaggedBatch& batch, const StepLimits& limits);

absl::Status CheckEmbedding(const EmbeddingArgs& args, const StepFacts& step);
absl::Status CheckNorm(const NormArgs& args, const StepFacts& step);
absl::Status CheckLinear(const LinearArgs& args, const StepFacts& step);
absl::Status CheckLinearGroup(absl::Span<const LinearArgs> group, const StepFacts& step);
absl::Status CheckPerHeadLinear(const PerHeadLinearArgs& args, const StepFacts& step);
absl::Status CheckGqaCacheWrite(const GqaCacheWriteArgs& args, const StepFacts& step);
absl::Status CheckMlaCacheWrite(const MlaCacheWriteArgs& args, const StepFacts& step);
absl::Status CheckGqaAttention(const GqaAttentionArgs& args, const StepFacts& step);
absl::Status CheckMlaAttention(const MlaAttentionArgs& args, const StepFacts& step);
absl::Status CheckMlaExpandedAttention(const MlaExpandedAttentionArgs& args, const StepFacts& step);
absl::Status CheckGatedActivation(const GatedActivationArgs& args, const StepFacts& step);
absl::Status CheckGatedLinear(const GatedLinearArgs& args, const StepFacts& step);
absl::Status CheckRoute(const RouteArgs& args, const StepFacts& step);
absl::Status CheckGatherRows(const GatherRowsArgs& args, const StepFacts& step);
absl::Status CheckCombineRows(const CombineRowsArgs& args, const StepFacts& step);
absl::Status CheckLogits(const LogitsArgs& args, const StepFacts& step);

absl::Status CheckTransfer(const TensorView& tensor, int64_t values);
absl::Status CheckCopyPages(const KvStore* store,
                            absl::Span<const std::pair<PageId, PageId>> copies);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_CHECKS_H_
