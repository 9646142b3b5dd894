#include "engine/convert/compress.h"

#include <cmath>
#include <cstdint>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/linalg/symmetric_eigen.h"

namespace transmla {
namespace {

Matrix LeadingColumns(const Matrix& m, int64_t count) {
  Matrix leading(m.rows(), count);
  for (int64_t i = 0; i < m.rows(); ++i)
    for (int64_t j = 0; j < count; ++j) leading(i, j) = m(i, j);
  return leading;
}

// Mean over dimensions [begin, end) of the root of the summed squares; the moment's diagonal has
// those sums.
double MeanColumnNorm(const Matrix& moment, int64_t begin, int64_t end) {
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += std::sqrt(moment(i, i));
  return sum / static_cast<double>(end - begin);
}

// What keys are divided by. The published code leaves the first qk_rope_head_dim values out of the
// values' mean, as it does with the keys; so do we.
double KeyDivisor(const Matrix& moment, const CompressOptions& options) {
  const int64_t keys = options.key_width;
  const int64_t values = moment.rows() - keys;
  if (options.balance_kv_ratio <= 0 || keys == 0) return 1;
  const double key_norm = MeanColumnNorm(moment, 0, keys);
  const int64_t rope = values - keys;
  const double value_norm =
      MeanColumnNorm(moment, keys + rope, moment.rows()) * options.balance_kv_ratio;
  // All-zero keys or values have nothing to balance (and a quotient that is no number).
  if (!(key_norm > 0) || !(value_norm > 0)) return 1;
  return key_norm / value_norm;
}

// Root of the energy that the components from `rank` on carry in dimensions [begin, end), over all
// energy there.
double RelativeError(const SymmetricEigen& eigen, int64_t rank, int64_t begin, int64_t end) {
  double lost = 0, total = 0;
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t j = 0; j < eigen.vectors.cols(); ++j) {
      const double energy =
          std::fmax(eigen.values[j], 0) * eigen.vectors(i, j) * eigen.vectors(i, j);
      total += energy;
      if (j >= rank) lost += energy;
    }
  }
  return total > 0 ? std::sqrt(lost / total) : 0;
}

}  // namespace

absl::StatusOr<LatentBasis> CompressKeysAndValues(const Matrix& moment,
                                                  const CompressOptions& options) {
  const int64_t width = moment.rows();
  CHECK_GE(options.key_width, 0);
  CHECK_LE(2 * int64_t{options.key_width}, width);
  CHECK(options.kv_lora_rank >= 1 && options.kv_lora_rank <= width);
  LatentBasis result;
  result.key_divisor = KeyDivisor(moment, options);
  Matrix balanced = moment;
  for (int64_t i = 0; i < width; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      if (i < options.key_width) balanced(i, j) /= result.key_divisor;
      if (j < options.key_width) balanced(i, j) /= result.key_divisor;
    }
  }
  ASSIGN_OR_RETURN(const SymmetricEigen eigen, DecomposeSymmetric(balanced));
  result.basis = LeadingColumns(eigen.vectors, options.kv_lora_rank);
  result.key_error = RelativeError(eigen, options.kv_lora_rank, 0, options.key_width);
  result.value_error = RelativeError(eigen, options.kv_lora_rank, options.key_width, width);
  return result;
}

LatentMap MakeLatentMap(const LatentBasis& latent, int key_width) {
  const int64_t width = latent.basis.rows(), rank = latent.basis.cols();
  LatentMap result;
  result.encoder = Matrix(rank, width);
  result.decoder = Matrix(width, rank);
  for (int64_t i = 0; i < width; ++i) {
    const double divisor = i < key_width ? latent.key_divisor : 1;
    for (int64_t j = 0; j < rank; ++j) {
      result.encoder(j, i) = latent.basis(i, j) / divisor;
      result.decoder(i, j) = latent.basis(i, j) * divisor;
    }
  }
  return result;
}

absl::StatusOr<Matrix> PrincipalComponents(const Matrix& moment, int rank) {
  CHECK(rank >= 1 && rank <= moment.rows());
  ASSIGN_OR_RETURN(const SymmetricEigen eigen, DecomposeSymmetric(moment));
  return LeadingColumns(eigen.vectors, rank);
}

}  // namespace transmla
