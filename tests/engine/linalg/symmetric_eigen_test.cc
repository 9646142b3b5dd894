#include "engine/linalg/symmetric_eigen.h"

#include <cmath>
#include <limits>
#include <string>

#include "gtest/gtest.h"

#include "engine/base/random.h"
#include "engine/linalg/product.h"

namespace transmla {
namespace {

// Symmetric with the given eigenvalues: V diag(values) Vᵀ for a random orthogonal V (from another
// decomposition).
Matrix RandomSymmetric(int n, uint64_t seed) {
  Random random(seed);
  Matrix a(n, n);
  for (int i = 0; i < n; ++i)
    for (int j = 0; j <= i; ++j) a(i, j) = a(j, i) = random.Normal();
  return a;
}

class SymmetricEigenTest : public testing::TestWithParam<int> {};

TEST_P(SymmetricEigenTest, DecomposesAndSorts) {
  const int n = GetParam();
  const Matrix a = RandomSymmetric(n, 10 + n);
  const absl::StatusOr<SymmetricEigen> eigen = DecomposeSymmetric(a);
  ASSERT_TRUE(eigen.ok()) << eigen.status();
  double trace = 0, sum = 0;
  for (int i = 0; i < n; ++i) {
    trace += a(i, i);
    sum += eigen->values[i];
    if (i > 0) {
      EXPECT_GE(eigen->values[i - 1], eigen->values[i]);
    }
  }
  EXPECT_NEAR(sum, trace, 1e-12 * n * n);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      double av = 0;
      for (int k = 0; k < n; ++k) av += a(i, k) * eigen->vectors(k, j);
      EXPECT_NEAR(av, eigen->values[j] * eigen->vectors(i, j), 1e-13 * n * 10);
    }
  }
}

TEST_P(SymmetricEigenTest, JacobiAgreesWithLapack) {
  const int n = GetParam();
  const Matrix a = RandomSymmetric(n, 50 + n);
  const absl::StatusOr<SymmetricEigen> eigen = DecomposeSymmetric(a);
  ASSERT_TRUE(eigen.ok());
  const SymmetricEigen jacobi = internal::DecomposeByJacobi(a);
  EXPECT_TRUE(internal::DecompositionIsRight(a, jacobi));
  for (int i = 0; i < n; ++i) EXPECT_NEAR(jacobi.values[i], eigen->values[i], 1e-12 * n);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SymmetricEigenTest, testing::Values(1, 2, 3, 17, 64, 97));

TEST(SymmetricEigenTest, RepeatedEigenvaluesKeepOrthonormalVectors) {
  const absl::StatusOr<SymmetricEigen> eigen = DecomposeSymmetric(Matrix::Identity(12));
  ASSERT_TRUE(eigen.ok());
  for (const double value : eigen->values) EXPECT_DOUBLE_EQ(value, 1.0);
  EXPECT_TRUE(internal::DecompositionIsRight(Matrix::Identity(12), *eigen));
}

TEST(SymmetricEigenTest, ZeroMatrix) {
  const absl::StatusOr<SymmetricEigen> eigen = DecomposeSymmetric(Matrix(5, 5));
  ASSERT_TRUE(eigen.ok()) << eigen.status();
  for (const double value : eigen->values) EXPECT_EQ(value, 0.0);
}

TEST(SymmetricEigenTest, CheckRefusesAWrongVectorAndAWrongValue) {
  const Matrix a = RandomSymmetric(20, 3);
  const absl::StatusOr<SymmetricEigen> eigen = DecomposeSymmetric(a);
  ASSERT_TRUE(eigen.ok());
  SymmetricEigen wrong = *eigen;
  wrong.vectors(4, 7) += 1e-6;
  EXPECT_FALSE(internal::DecompositionIsRight(a, wrong));
  wrong = *eigen;
  wrong.values[3] += 1e-6;
  EXPECT_FALSE(internal::DecompositionIsRight(a, wrong));
}

TEST(SymmetricEigenTest, NotFiniteIsDataLoss) {
  Matrix a = RandomSymmetric(6, 9);
  a(4, 1) = std::numeric_limits<double>::infinity();
  const absl::StatusOr<SymmetricEigen> eigen = DecomposeSymmetric(a);
  EXPECT_EQ(eigen.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(eigen.status().message().find("(4, 1)"), std::string::npos) << eigen.status();
}

}  // namespace
}  // namespace transmla
