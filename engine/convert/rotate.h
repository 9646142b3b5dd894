// RoRoPE with FreqFold: an orthogonal map of all key dimensions that gathers what needs RoPE in the
// first few.
//
// TransMLA (arXiv 2502.07864), sections on RoRoPE and FreqFold, as its published code computes it
// (docs/conversion.md, section 2). Keys of all heads that turn at one frequency may be mixed by any
// real rotation that treats the real and the imaginary halves alike: it commutes with RoPE.
// Neighbouring frequencies (`freqfold` of them) are taken as one and mixed too, which is
// approximate. A principal component analysis in each group puts most energy into its first
// components, and those alone keep RoPE.
#ifndef TRANSMLA_ENGINE_CONVERT_ROTATE_H_
#define TRANSMLA_ENGINE_CONVERT_ROTATE_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/linalg/matrix.h"

namespace transmla {

struct RotationShape {
  int num_key_value_heads = 0;
  int head_dim = 0;
  int qk_rope_head_dim = 0;  // divides head_dim: head_dim / qk_rope_head_dim is how many
                             // neighbouring frequencies become one
  int freqfold = 0;  // frequencies of a group: a multiple of that quotient, divides head_dim / 2

  int collapse() const { return head_dim / qk_rope_head_dim; }
  int width() const { return num_key_value_heads * head_dim; }
};

// InvalidArgument naming the option and its limit if the numbers do not divide as above.
absl::Status ValidateRotation(const RotationShape& shape);

// The orthogonal map Q [width, width]: new = Q · old. Old dimensions are the heads one after the
// other in half-split layout; new dimensions are interleaved pairs, the first qk_rope_head_dim of
// which keep RoPE. `key_moment` is Σ k·kᵀ [width, width] of the keys before RoPE. DataLoss if it is
// not finite. REQUIRES: ValidateRotation(shape) is OK.
absl::StatusOr<Matrix> RopeRotation(const Matrix& key_moment, const RotationShape& shape);

// Radians a position of the pairs that keep RoPE, [qk_rope_head_dim / 2]: every collapse()-th of
// the source's.
std::vector<float> KeptFrequencies(absl::Span<const float> inv_freq, const RotationShape& shape);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_ROTATE_H_
