// Turns a plan into the batch that the model computes.
#ifndef TRANSMLA_ENGINE_SERVE_BATCH_BUILDER_H_
#define TRANSMLA_ENGINE_SERVE_BATCH_BUILDER_H_

#include "engine/backend/ragged_batch.h"
#include "engine/serve/plan.h"

namespace transmla {

// Fills `batch` (its memory is reused) with the plan's chunks in their order; the logits of those
// that sample follow in the same order.
void BuildBatch(const Plan& plan, RaggedBatch& batch);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_BATCH_BUILDER_H_
