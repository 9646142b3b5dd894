#include "engine/convert/weighted_latent.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

#include "tests/engine/convert/attention_reference.h"

namespace transmla {
namespace {

using testing::Gram;
using testing::RandomMatrix;

constexpr int kKeys = 5, kValues = 7, kWidth = kKeys + kValues, kSamples = 40;

Matrix Mean(Matrix gram) {
  for (double& value : gram.values()) value /= kSamples;
  return gram;
}

struct Problem {
  Matrix z, moment, key_weight, value_weight;
  std::vector<double> centre;

  WeightedLatentInput Input(int rank) const {
    return {.moment = &moment,
            .centre = centre,
            .key_weight = &key_weight,
            .value_weight = &value_weight,
            .kv_lora_rank = rank};
  }
};

// Keys and values with structure in common, away from zero, and weights that differ much by
// direction.
Problem MakeProblem(uint64_t seed) {
  Random random(seed);
  Problem problem;
  problem.z = Multiply(RandomMatrix(kSamples, 3, random), RandomMatrix(3, kWidth, random));
  for (double& value : problem.z.values()) value += 0.3 * random.Normal() + 2;
  problem.moment = Mean(Gram(problem.z));
  problem.centre.resize(kWidth);
  for (int64_t i = 0; i < kSamples; ++i)
    for (int64_t j = 0; j < kWidth; ++j) problem.centre[j] += problem.z(i, j) / kSamples;
  const auto weight = [&](int n) {
    Matrix root = RandomMatrix(n, n, random);
    for (int64_t i = 0; i < n; ++i) root(i, 0) *= 10;
    return Gram(root);
  };
  problem.key_weight = weight(kKeys);
  problem.value_weight = weight(kValues);
  return problem;
}

Matrix Reconstruct(const Matrix& z, const LatentMap& map) {
  Matrix back(z.rows(), z.cols());
  for (int64_t i = 0; i < z.rows(); ++i) {
    Matrix column(z.cols(), 1);
    for (int64_t j = 0; j < z.cols(); ++j) column(j, 0) = z(i, j) - map.centre[j];
    const Matrix result = Multiply(map.decoder, Multiply(map.encoder, column));
    for (int64_t j = 0; j < z.cols(); ++j) back(i, j) = result(j, 0) + map.centre[j];
  }
  return back;
}

// Mean of eᵀ·weight·e over the rows' errors e in [begin, begin + size).
double WeightedError(const Matrix& z, const Matrix& back, const Matrix& weight, int begin) {
  double sum = 0;
  for (int64_t t = 0; t < z.rows(); ++t)
    for (int64_t i = 0; i < weight.rows(); ++i)
      for (int64_t j = 0; j < weight.rows(); ++j)
        sum += weight(i, j) * (z(t, begin + i) - back(t, begin + i)) *
               (z(t, begin + j) - back(t, begin + j));
  return sum / static_cast<double>(z.rows());
}

// What CompressWeighted minimises.
double Objective(const Problem& problem, const LatentMap& map) {
  const Matrix back = Reconstruct(problem.z, map);
  return WeightedError(problem.z, back, problem.key_weight, 0) +
         WeightedError(problem.z, back, problem.value_weight, kKeys);
}

TEST(WeightedLatentTest, FullRankLosesNothing) {
  const Problem problem = MakeProblem(1);
  const absl::StatusOr<WeightedLatent> latent = CompressWeighted(problem.Input(kWidth));
  ASSERT_TRUE(latent.ok()) << latent.status();
  EXPECT_LT(testing::MaxDifference(Reconstruct(problem.z, latent->map), problem.z), 1e-10);
  EXPECT_LT(latent->key_error, 1e-7);
  EXPECT_LT(latent->value_error, 1e-7);
}

// No other map of the rank does better: not that of other weights, and not the same one disturbed.
TEST(WeightedLatentTest, LosesLeastOfWhatIsWeighed) {
  for (const int rank : {1, 4, 9}) {
    const Problem problem = MakeProblem(2);
    const absl::StatusOr<WeightedLatent> best = CompressWeighted(problem.Input(rank));
    ASSERT_TRUE(best.ok()) << best.status();
    const double least = Objective(problem, best->map);
    EXPECT_GT(least, 0);

    Problem unweighted = problem;
    unweighted.key_weight = Matrix::Identity(kKeys);
    unweighted.value_weight = Matrix::Identity(kValues);
    EXPECT_LT(least, Objective(problem, CompressWeighted(unweighted.Input(rank))->map));

    Problem uncentred = problem;
    uncentred.centre.assign(kWidth, 0);
    EXPECT_LT(least, Objective(problem, CompressWeighted(uncentred.Input(rank))->map));

    Random random(3);
    for (int i = 0; i < 20; ++i) {
      LatentMap disturbed = best->map;
      for (double& value : disturbed.encoder.values()) value *= 1 + 1e-3 * random.Normal();
      EXPECT_LE(least, Objective(problem, disturbed));
      disturbed = best->map;
      for (double& value : disturbed.decoder.values()) value *= 1 + 1e-3 * random.Normal();
      EXPECT_LE(least, Objective(problem, disturbed));
    }
  }
}

TEST(WeightedLatentTest, ReportsTheErrorsOfTheSamples) {
  const Problem problem = MakeProblem(4);
  const absl::StatusOr<WeightedLatent> latent = CompressWeighted(problem.Input(4));
  ASSERT_TRUE(latent.ok()) << latent.status();
  const Matrix back = Reconstruct(problem.z, latent->map);
  const auto relative = [&](int begin, int size) {
    const Matrix one = Matrix::Identity(size);
    const Matrix zero(kSamples, kWidth);
    return std::sqrt(WeightedError(problem.z, back, one, begin) /
                     WeightedError(problem.z, zero, one, begin));
  };
  EXPECT_NEAR(latent->key_error, relative(0, kKeys), 1e-9);
  EXPECT_NEAR(latent->value_error, relative(kKeys, kValues), 1e-9);
}

TEST(WeightedLatentTest, MoreWeightOnKeysHelpsThem) {
  const Problem problem = MakeProblem(5);
  WeightedLatentInput input = problem.Input(4);
  const auto key_error = [&](double balance) {
    input.balance = balance;
    return CompressWeighted(input)->key_error;
  };
  EXPECT_LT(key_error(10), key_error(0.1));
}

// Nothing scores the keys, or nothing reads the values: the others get the rank, and what is not
// weighed is still something finite.
TEST(WeightedLatentTest, WeightsOfZeroAreNoError) {
  for (const bool keys : {true, false}) {
    Problem problem = MakeProblem(6);
    (keys ? problem.key_weight : problem.value_weight) =
        keys ? Matrix(kKeys, kKeys) : Matrix(kValues, kValues);
    const absl::StatusOr<WeightedLatent> latent = CompressWeighted(problem.Input(kWidth));
    ASSERT_TRUE(latent.ok()) << latent.status();
    EXPECT_LT(testing::MaxDifference(Reconstruct(problem.z, latent->map), problem.z), 1e-9);
  }
}

// qk_rope_head_dim may be as wide as all keys.
TEST(WeightedLatentTest, ThereMayBeNoPositionFreeKeys) {
  Random random(7);
  const Matrix v = RandomMatrix(kSamples, kValues, random);
  const Matrix moment = Mean(Gram(v)), none, weight = Matrix::Identity(kValues);
  const std::vector<double> centre(kValues, 0.0);
  const absl::StatusOr<WeightedLatent> latent = CompressWeighted({.moment = &moment,
                                                                  .centre = centre,
                                                                  .key_weight = &none,
                                                                  .value_weight = &weight,
                                                                  .kv_lora_rank = kValues});
  ASSERT_TRUE(latent.ok()) << latent.status();
  EXPECT_LT(testing::MaxDifference(Reconstruct(v, latent->map), v), 1e-12);
  EXPECT_EQ(latent->key_error, 0);
}

TEST(WeightedLatentTest, NotFiniteIsAnError) {
  Problem problem = MakeProblem(8);
  problem.key_weight(0, 0) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(CompressWeighted(problem.Input(4)).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace transmla
