// What a layer that norms queries and keys keeps of its source: the projections and the norms of
// each head. The converted attention comes behind them (docs/conversion.md, section 0).
//
// N rows, D = hidden_size, d = head_dim, H and G heads of queries and of keys, L = G·d.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_NORMED_HEADS_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_NORMED_HEADS_H_

#include "absl/status/statusor.h"

#include "engine/convert/recover/frozen_model.h"
#include "engine/linalg/float_product.h"

namespace transmla {

struct NormedHeadsTape {
  FloatMatrix q, k;  // before their norms, a head a row: [N·H, d], [N·G, d]
  FloatMatrix out;   // the result
};

// Queries, keys and values of the rows `in`, [N, H·d + 2·L], in the source's own order of each
// head. The result is tape->out. Errors as FrozenModel's.
absl::Status NormedHeadsForward(const FrozenModel& model, int layer, const FloatMatrix& in,
                                NormedHeadsTape* tape);
// The gradient of `in`, [N, D], from that of the result.
absl::StatusOr<FloatMatrix> NormedHeadsBackward(const FrozenModel& model, int layer,
                                                const NormedHeadsTape& tape,
                                                const FloatMatrix& out_gradient);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_NORMED_HEADS_H_
