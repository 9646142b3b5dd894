#include "engine/convert/rotate.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/linalg/symmetric_eigen.h"

namespace transmla {
namespace {

// Old dimension of each element of frequency group `group`'s vector, for the real (0) or imaginary
// (1) half. Element order: frequency within a collapsed run, head, run within the group.
std::vector<int64_t> GroupElements(const RotationShape& shape, int group, int half) {
  const int pairs = shape.head_dim / 2;
  const int runs = shape.freqfold / shape.collapse();
  std::vector<int64_t> elements;
  elements.reserve(shape.num_key_value_heads * shape.freqfold);
  for (int c = 0; c < shape.collapse(); ++c) {
    for (int head = 0; head < shape.num_key_value_heads; ++head) {
      for (int run = 0; run < runs; ++run) {
        const int pair = group * shape.freqfold + run * shape.collapse() + c;
        elements.push_back(int64_t{head} * shape.head_dim + half * pairs + pair);
      }
    }
  }
  return elements;
}

// Sum over both halves of the moment of a group's vector: halves are two samples of one space.
Matrix GroupMoment(const Matrix& key_moment, const RotationShape& shape, int group) {
  const int64_t size = int64_t{shape.num_key_value_heads} * shape.freqfold;
  Matrix moment(size, size);
  for (int half = 0; half < 2; ++half) {
    const std::vector<int64_t> elements = GroupElements(shape, group, half);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < size; ++j) moment(i, j) += key_moment(elements[i], elements[j]);
  }
  return moment;
}

// New dimension of component `component` of a group: the leading components of all groups come
// first.
int64_t NewDimension(const RotationShape& shape, int group, int64_t component, int half) {
  const int64_t runs = shape.freqfold / shape.collapse();
  const int64_t groups = shape.head_dim / 2 / shape.freqfold;
  const int64_t block = component / runs;
  return ((block * groups + group) * runs + component % runs) * 2 + half;
}

}  // namespace

absl::Status ValidateRotation(const RotationShape& shape) {
  CHECK_GT(shape.head_dim, 0);
  if (shape.qk_rope_head_dim <= 0 || shape.qk_rope_head_dim % 2 != 0 ||
      shape.head_dim % shape.qk_rope_head_dim != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("qk_rope_head_dim is ", shape.qk_rope_head_dim,
                     " but must be even and divide the model's head_dim of ", shape.head_dim,
                     ", since neighbouring frequencies are merged; choose ", shape.head_dim, ", ",
                     shape.head_dim / 2, " or ", shape.head_dim / 4));
  }
  const int pairs = shape.head_dim / 2;
  if (shape.freqfold <= 0 || shape.freqfold % shape.collapse() != 0 ||
      pairs % shape.freqfold != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "freqfold is ", shape.freqfold, " but must be a multiple of head_dim / qk_rope_head_dim = ",
        shape.collapse(), " and divide head_dim / 2 = ", pairs, "; 0 chooses by perplexity"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Matrix> RopeRotation(const Matrix& key_moment, const RotationShape& shape) {
  CHECK_EQ(key_moment.rows(), shape.width());
  CHECK_EQ(key_moment.cols(), shape.width());
  Matrix rotation(shape.width(), shape.width());
  const int groups = shape.head_dim / 2 / shape.freqfold;
  for (int group = 0; group < groups; ++group) {
    ASSIGN_OR_RETURN(const SymmetricEigen eigen,
                     DecomposeSymmetric(GroupMoment(key_moment, shape, group)));
    for (int half = 0; half < 2; ++half) {
      const std::vector<int64_t> elements = GroupElements(shape, group, half);
      for (int64_t component = 0; component < eigen.vectors.cols(); ++component) {
        const int64_t row = NewDimension(shape, group, component, half);
        for (size_t e = 0; e < elements.size(); ++e)
          rotation(row, elements[e]) = eigen.vectors(static_cast<int64_t>(e), component);
      }
    }
  }
  return rotation;
}

std::vector<float> KeptFrequencies(absl::Span<const float> inv_freq, const RotationShape& shape) {
  CHECK_EQ(static_cast<int>(inv_freq.size()), shape.head_dim / 2);
  std::vector<float> kept;
  for (int pair = 0; pair < shape.head_dim / 2; pair += shape.collapse())
    kept.push_back(inv_freq[pair]);
  return kept;
}

}  // namespace transmla
