#include "engine/linalg/product.h"

#include <cmath>
#include <limits>
#include <tuple>

#include "gtest/gtest.h"

#include "tests/engine/linalg/random_matrix.h"

namespace transmla {
namespace {

using testing::RandomMatrix;

class ProductTest : public ::testing::TestWithParam<std::tuple<int, int, int, bool, bool>> {};

TEST_P(ProductTest, MatchesTheDefinition) {
  const auto [m, n, k, transpose_a, transpose_b] = GetParam();
  const Transpose ta = transpose_a ? Transpose::kYes : Transpose::kNo;
  const Transpose tb = transpose_b ? Transpose::kYes : Transpose::kNo;
  const Matrix a = transpose_a ? RandomMatrix(k, m, 1) : RandomMatrix(m, k, 1);
  const Matrix b = transpose_b ? RandomMatrix(n, k, 2) : RandomMatrix(k, n, 2);
  const Matrix c = Multiply(a, ta, b, tb);
  ASSERT_EQ(c.rows(), m);
  ASSERT_EQ(c.cols(), n);
  for (int i = 0; i < m; ++i) {
    for (int j = 0; j < n; ++j) {
      double wanted = 0, magnitude = 0;
      for (int l = 0; l < k; ++l) {
        const double term = (transpose_a ? a(l, i) : a(i, l)) * (transpose_b ? b(j, l) : b(l, j));
        wanted += term;
        magnitude += std::abs(term);
      }
      EXPECT_NEAR(c(i, j), wanted, 2 * k * std::numeric_limits<double>::epsilon() * magnitude);
    }
  }
  EXPECT_TRUE(internal::ProductIsRight(a, ta, b, tb, internal::MultiplyPlainly(a, ta, b, tb)));
}

INSTANTIATE_TEST_SUITE_P(Sizes, ProductTest,
                         ::testing::Combine(::testing::Values(1, 7, 65), ::testing::Values(1, 33),
                                            ::testing::Values(1, 40, 129), ::testing::Bool(),
                                            ::testing::Bool()));

TEST(ProductTest, TakesBlocksOfLargerMatrices) {
  const Matrix big = RandomMatrix(9, 11, 3);
  const Matrix c =
      Multiply(big.block(2, 3, 4, 5), Transpose::kNo, big.block(1, 6, 3, 5), Transpose::kYes);
  double wanted = 0;
  for (int l = 0; l < 5; ++l) wanted += big(2 + 1, 3 + l) * big(1 + 2, 6 + l);
  EXPECT_NEAR(c(1, 2), wanted, 1e-14);
}

TEST(ProductTest, CheckFindsOneWrongElement) {
  const Matrix a = RandomMatrix(30, 50, 4), b = RandomMatrix(50, 20, 5);
  Matrix c = Multiply(a, b);
  for (const auto& [i, j] : {std::pair{0, 0}, std::pair{29, 19}, std::pair{13, 7}}) {
    Matrix wrong = c;
    wrong(i, j) += 1e-9;
    EXPECT_FALSE(internal::ProductIsRight(a, Transpose::kNo, b, Transpose::kNo, wrong))
        << i << " " << j;
  }
}

TEST(ProductTest, NotANumberStays) {
  Matrix a = RandomMatrix(4, 4, 6);
  a(1, 2) = std::numeric_limits<double>::quiet_NaN();
  const Matrix c = Multiply(a, RandomMatrix(4, 3, 7));
  EXPECT_TRUE(std::isnan(c(1, 0)));
  EXPECT_TRUE(std::isfinite(c(0, 0)));
}

}  // namespace
}  // namespace transmla
