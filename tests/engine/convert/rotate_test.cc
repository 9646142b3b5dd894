#include "engine/convert/rotate.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

#include "tests/engine/convert/attention_reference.h"

namespace transmla {
namespace {

using testing::Gram;
using testing::RandomMatrix;

class RotateTest : public ::testing::TestWithParam<RotationShape> {};

TEST_P(RotateTest, IsOrthogonal) {
  const RotationShape shape = GetParam();
  ASSERT_TRUE(ValidateRotation(shape).ok()) << ValidateRotation(shape);
  Random random(1);
  const Matrix keys = RandomMatrix(3 * shape.width(), shape.width(), random);
  const absl::StatusOr<Matrix> rotation = RopeRotation(Gram(keys), shape);
  ASSERT_TRUE(rotation.ok()) << rotation.status();
  EXPECT_LT(testing::MaxDifference(Gram(*rotation), Matrix::Identity(shape.width())), 1e-13);
}

TEST_P(RotateTest, ComponentsOfAGroupAreUncorrelatedAndDescend) {
  const RotationShape shape = GetParam();
  Random random(2);
  // Uneven energies, so that there is something to gather.
  Matrix keys = RandomMatrix(4 * shape.width(), shape.width(), random);
  for (int64_t i = 0; i < keys.rows(); ++i)
    for (int64_t j = 0; j < keys.cols(); ++j) keys(i, j) *= 1 + (j * 7) % 5;
  const Matrix moment = Gram(keys);
  const absl::StatusOr<Matrix> rotation = RopeRotation(moment, shape);
  ASSERT_TRUE(rotation.ok());
  const Matrix turned =
      Multiply(Multiply(*rotation, moment), Transpose::kNo, *rotation, Transpose::kYes);
  // The block of dimensions that keep RoPE has at least the average energy, and no block has more.
  const int blocks = shape.width() / shape.qk_rope_head_dim;
  std::vector<double> energy(blocks);
  double total = 0;
  for (int64_t i = 0; i < shape.width(); ++i) {
    energy[i / shape.qk_rope_head_dim] += turned(i, i);
    total += turned(i, i);
  }
  for (int b = 1; b < blocks; ++b) EXPECT_GE(energy[b - 1], energy[b] * (1 - 1e-12));
  EXPECT_GE(energy[0], total / blocks);
}

INSTANTIATE_TEST_SUITE_P(Shapes, RotateTest,
                         ::testing::Values(RotationShape{3, 8, 8, 1}, RotationShape{3, 8, 8, 2},
                                           RotationShape{3, 8, 4, 2}, RotationShape{3, 8, 4, 4},
                                           RotationShape{2, 16, 4, 8}, RotationShape{1, 6, 6, 1},
                                           RotationShape{1, 6, 2, 3}));

// With one frequency a group nothing is approximate: scores with RoPE on every dimension, in the
// new layout, are those of the source.
TEST(RotateTest, ScoresAreUnchangedWhileEveryDimensionKeepsRope) {
  const RotationShape shape{3, 8, 8, 1};
  Random random(3);
  const Matrix keys = RandomMatrix(50, shape.width(), random);
  const absl::StatusOr<Matrix> rotation = RopeRotation(Gram(keys), shape);
  ASSERT_TRUE(rotation.ok());
  const std::vector<float> inv_freq = testing::DefaultFrequencies(shape.head_dim);
  const Matrix query = RandomMatrix(1, shape.head_dim, random);
  for (int head = 0; head < shape.num_key_value_heads; ++head) {
    for (const auto& [query_position, key_position] : {std::pair{5, 2}, std::pair{40, 40}}) {
      // In the source: half-split pairs of one head.
      Matrix q = query, k(1, shape.head_dim);
      for (int i = 0; i < shape.head_dim; ++i) k(0, i) = keys(7, head * shape.head_dim + i);
      for (int f = 0; f < shape.head_dim / 2; ++f) {
        testing::Turn(q.row(0), f, f + shape.head_dim / 2, query_position * double{inv_freq[f]});
        testing::Turn(k.row(0), f, f + shape.head_dim / 2, key_position * double{inv_freq[f]});
      }
      const double wanted = Multiply(q, Transpose::kNo, k, Transpose::kYes)(0, 0);
      // After the rotation: neighbours, every block with the same frequencies; the query in its
      // head's slot.
      Matrix slot(1, shape.width());
      for (int i = 0; i < shape.head_dim; ++i) slot(0, head * shape.head_dim + i) = query(0, i);
      Matrix new_q = Multiply(slot, Transpose::kNo, *rotation, Transpose::kYes);
      // Only this head's key matters to this query, but all heads' keys are mixed.
      Matrix new_k =
          Multiply(keys.block(7, 0, 1, shape.width()), Transpose::kNo, *rotation, Transpose::kYes);
      for (int pair = 0; pair < shape.width() / 2; ++pair) {
        const double frequency = inv_freq[pair % (shape.head_dim / 2)];
        testing::Turn(new_q.row(0), 2 * pair, 2 * pair + 1, query_position * frequency);
        testing::Turn(new_k.row(0), 2 * pair, 2 * pair + 1, key_position * frequency);
      }
      EXPECT_NEAR(Multiply(new_q, Transpose::kNo, new_k, Transpose::kYes)(0, 0), wanted, 1e-12);
    }
  }
}

TEST(RotateTest, KeepsEveryCollapsedFrequency) {
  const std::vector<float> inv_freq = testing::DefaultFrequencies(16);
  EXPECT_EQ(KeptFrequencies(inv_freq, {2, 16, 16, 4}), inv_freq);
  EXPECT_EQ(KeptFrequencies(inv_freq, {2, 16, 4, 4}),
            (std::vector<float>{inv_freq[0], inv_freq[4]}));
}

TEST(RotateTest, NamesTheOptionThatDoesNotDivide) {
  for (const int rope : {-2, 0, 3, 5, 6, 128}) {
    const absl::Status status = ValidateRotation({2, 16, rope, 4});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << rope;
    EXPECT_NE(status.message().find("qk_rope_head_dim"), std::string::npos) << status;
  }
  for (const int freqfold : {-1, 0, 1, 3, 16}) {
    const absl::Status status = ValidateRotation({2, 16, 8, freqfold});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << freqfold;
    EXPECT_NE(status.message().find("freqfold"), std::string::npos) << status;
  }
}

TEST(RotateTest, NotFiniteMomentsAreDataLoss) {
  Matrix moment = Matrix::Identity(16);
  moment(9, 9) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(RopeRotation(moment, {2, 8, 8, 1}).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace transmla
