#include "engine/linalg/symmetric_solve.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

#include "engine/linalg/product.h"
#include "tests/engine/linalg/random_matrix.h"

namespace transmla {
namespace {

using testing::RandomMatrix;

// G·Gᵀ + I: positive definite, with a condition number of about n.
Matrix RandomDefinite(int64_t n, uint64_t seed) {
  const Matrix g = RandomMatrix(n, n, seed);
  Matrix a = Multiply(g, Transpose::kNo, g, Transpose::kYes);
  for (int64_t i = 0; i < n; ++i) a(i, i) += 1;
  return a;
}

class SymmetricSolveTest : public ::testing::TestWithParam<int> {};

TEST_P(SymmetricSolveTest, FindsTheSolutionThatTheRowsWereMadeOf) {
  const int n = GetParam();
  const Matrix a = RandomDefinite(n, 7 + n), wanted = RandomMatrix(5, n, 11 + n);
  const Matrix rows = Multiply(wanted, a);
  const absl::StatusOr<Matrix> x = SolveSymmetric(a, rows);
  ASSERT_TRUE(x.ok()) << x.status();
  const absl::StatusOr<Matrix> plain = internal::SolveByCholesky(a, rows);
  ASSERT_TRUE(plain.ok()) << plain.status();
  // Condition number · epsilon: at most about (4·n + 1) · 2e-16 for n up to 97; a thousandfold.
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      EXPECT_NEAR((*x)(i, j), wanted(i, j), 1e-9);
      EXPECT_NEAR((*plain)(i, j), wanted(i, j), 1e-9);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SymmetricSolveTest, ::testing::Values(1, 2, 3, 17, 64, 97));

TEST(SymmetricSolveTest, TheCheckSeesAWrongElement) {
  const Matrix a = RandomDefinite(20, 3), rows = RandomMatrix(4, 20, 5);
  absl::StatusOr<Matrix> x = SolveSymmetric(a, rows);
  ASSERT_TRUE(x.ok());
  EXPECT_TRUE(internal::SolutionIsRight(a, rows, *x));
  (*x)(2, 13) *= 1 + 1e-6;
  EXPECT_FALSE(internal::SolutionIsRight(a, rows, *x));
}

TEST(SymmetricSolveTest, RefusesWhatHasNoSolution) {
  Matrix a = RandomDefinite(6, 3);
  const Matrix rows = RandomMatrix(2, 6, 5);
  a(4, 4) = -1;
  EXPECT_EQ(SolveSymmetric(a, rows).status().code(), absl::StatusCode::kFailedPrecondition);
  a(4, 4) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(SolveSymmetric(a, rows).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace transmla
