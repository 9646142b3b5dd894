// BKV-PCA: one low-rank latent for the position-free keys and the values together.
//
// TransMLA (arXiv 2502.07864), "Balanced key-value PCA", as its published code computes it
// (docs/conversion.md, section 3): keys are first divided by the ratio of mean column norms, so
// that the larger of the two does not take the whole rank; then the leading eigenvectors of the
// uncentred second moment of [k_nope / ratio; v] span the latent.
#ifndef TRANSMLA_ENGINE_CONVERT_COMPRESS_H_
#define TRANSMLA_ENGINE_CONVERT_COMPRESS_H_

#include "absl/status/statusor.h"

#include "engine/convert/latent_layer.h"
#include "engine/linalg/matrix.h"

namespace transmla {

// How [k_nope; v] (width K + L) becomes the latent and comes back: latent = basisᵀ · [k_nope /
// key_divisor; v], [k_nope; v] ≈ [key_divisor · top of basis; bottom of basis] · latent.
struct LatentBasis {
  double key_divisor = 1;
  Matrix basis;  // [K + L, rank], orthonormal columns
  double key_error =
      0;  // ‖k_nope − its reconstruction‖ / ‖k_nope‖, root mean square over the calibration tokens
  double value_error = 0;  // of the values, alike
};

struct CompressOptions {
  int key_width = 0;            // K = L − qk_rope_head_dim; may be 0
  int kv_lora_rank = 0;         // 1 … K + L
  double balance_kv_ratio = 1;  // times mean norm of values over that of keys; <= 0: no balancing
};

// `moment` is Σ z·zᵀ, [K + L, K + L], of z = [k_nope; v]. DataLoss if it is not finite.
absl::StatusOr<LatentBasis> CompressKeysAndValues(const Matrix& moment,
                                                  const CompressOptions& options);

// The maps of a basis whose first `key_width` rows are keys'.
LatentMap MakeLatentMap(const LatentBasis& latent, int key_width);

// Leading `rank` eigenvectors of a second moment, as columns. For the query's low rank.
absl::StatusOr<Matrix> PrincipalComponents(const Matrix& moment, int rank);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_COMPRESS_H_
