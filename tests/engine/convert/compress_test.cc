#include "engine/convert/compress.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

#include "tests/engine/convert/attention_reference.h"

namespace transmla {
namespace {

using testing::Gram;
using testing::RandomMatrix;

constexpr int kKeys = 5, kValues = 7, kSamples = 40;

// Keys and values of unlike size with some structure in common.
Matrix Samples(uint64_t seed) {
  Random random(seed);
  const Matrix common = RandomMatrix(kSamples, 3, random);
  Matrix z = Multiply(common, RandomMatrix(3, kKeys + kValues, random));
  for (int64_t i = 0; i < z.rows(); ++i)
    for (int64_t j = 0; j < z.cols(); ++j)
      z(i, j) = (z(i, j) + 0.3 * random.Normal()) * (j < kKeys ? 11 : 1);
  return z;
}

// What comes back of z after the latent.
Matrix Reconstruct(const Matrix& z, const LatentBasis& latent) {
  Matrix balanced = z;
  for (int64_t i = 0; i < z.rows(); ++i)
    for (int64_t j = 0; j < kKeys; ++j) balanced(i, j) /= latent.key_divisor;
  Matrix back =
      Multiply(Multiply(balanced, latent.basis), Transpose::kNo, latent.basis, Transpose::kYes);
  for (int64_t i = 0; i < z.rows(); ++i)
    for (int64_t j = 0; j < kKeys; ++j) back(i, j) *= latent.key_divisor;
  return back;
}

double RelativeError(const Matrix& z, const Matrix& back, int begin, int end) {
  double lost = 0, total = 0;
  for (int64_t i = 0; i < z.rows(); ++i) {
    for (int64_t j = begin; j < end; ++j) {
      lost += (z(i, j) - back(i, j)) * (z(i, j) - back(i, j));
      total += z(i, j) * z(i, j);
    }
  }
  return std::sqrt(lost / total);
}

TEST(CompressTest, FullRankLosesNothing) {
  const Matrix z = Samples(1);
  const absl::StatusOr<LatentBasis> latent =
      CompressKeysAndValues(Gram(z), {.key_width = kKeys, .kv_lora_rank = kKeys + kValues});
  ASSERT_TRUE(latent.ok()) << latent.status();
  EXPECT_LT(testing::MaxDifference(Reconstruct(z, *latent), z), 1e-12);
  EXPECT_EQ(latent->key_error, 0);
  EXPECT_EQ(latent->value_error, 0);
}

class CompressRankTest : public ::testing::TestWithParam<int> {};

TEST_P(CompressRankTest, ReportsTheErrorThatReconstructionHas) {
  const Matrix z = Samples(2);
  const absl::StatusOr<LatentBasis> latent =
      CompressKeysAndValues(Gram(z), {.key_width = kKeys, .kv_lora_rank = GetParam()});
  ASSERT_TRUE(latent.ok());
  const Matrix back = Reconstruct(z, *latent);
  EXPECT_NEAR(latent->key_error, RelativeError(z, back, 0, kKeys), 1e-10);
  EXPECT_NEAR(latent->value_error, RelativeError(z, back, kKeys, kKeys + kValues), 1e-10);
  EXPECT_GT(latent->key_error, 0);
}

TEST_P(CompressRankTest, NoOtherSubspaceKeepsMoreOfTheBalancedEnergy) {
  const Matrix z = Samples(3);
  const absl::StatusOr<LatentBasis> latent =
      CompressKeysAndValues(Gram(z), {.key_width = kKeys, .kv_lora_rank = GetParam()});
  ASSERT_TRUE(latent.ok());
  Matrix balanced = z;
  for (int64_t i = 0; i < z.rows(); ++i)
    for (int64_t j = 0; j < kKeys; ++j) balanced(i, j) /= latent->key_divisor;
  const auto energy = [&](const Matrix& basis) {
    const Matrix projected = Multiply(balanced, basis);
    double sum = 0;
    for (const double value : projected.values()) sum += value * value;
    return sum;
  };
  Random random(4);
  for (int trial = 0; trial < 20; ++trial) {
    const absl::StatusOr<Matrix> other =
        PrincipalComponents(Gram(RandomMatrix(50, kKeys + kValues, random)), GetParam());
    ASSERT_TRUE(other.ok());
    EXPECT_LE(energy(*other), energy(latent->basis) * (1 + 1e-12));
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, CompressRankTest, ::testing::Values(1, 4, 9, 11));

TEST(CompressTest, DivisorBalancesMeanColumnNorms) {
  const Matrix z = Samples(5);
  const Matrix moment = Gram(z);
  // The published code leaves out as many values as there are rope keys: here 7 − 5 = 2.
  double keys = 0, values = 0;
  for (int j = 0; j < kKeys; ++j) keys += std::sqrt(moment(j, j)) / kKeys;
  for (int j = kKeys + 2; j < kKeys + kValues; ++j) values += std::sqrt(moment(j, j)) / kKeys;
  const CompressOptions options{.key_width = kKeys, .kv_lora_rank = 3, .balance_kv_ratio = 2};
  EXPECT_NEAR(CompressKeysAndValues(moment, options)->key_divisor, keys / (2 * values), 1e-12);
  CompressOptions unbalanced = options;
  unbalanced.balance_kv_ratio = 0;
  EXPECT_EQ(CompressKeysAndValues(moment, unbalanced)->key_divisor, 1);
}

TEST(CompressTest, ValuesAloneAndZerosHaveNothingToBalance) {
  EXPECT_EQ(
      CompressKeysAndValues(Matrix::Identity(4), {.key_width = 0, .kv_lora_rank = 2})->key_divisor,
      1);
  const absl::StatusOr<LatentBasis> zeros =
      CompressKeysAndValues(Matrix(6, 6), {.key_width = 3, .kv_lora_rank = 2});
  ASSERT_TRUE(zeros.ok());
  EXPECT_EQ(zeros->key_divisor, 1);
  EXPECT_EQ(zeros->key_error, 0);
}

TEST(CompressTest, NotFiniteMomentsAreDataLoss) {
  Matrix moment = Gram(Samples(6));
  moment(3, 3) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(CompressKeysAndValues(moment, {.key_width = kKeys, .kv_lora_rank = 3}).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace transmla
