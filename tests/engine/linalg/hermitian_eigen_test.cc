#include "engine/linalg/hermitian_eigen.h"

#include <cmath>
#include <complex>
#include <limits>

#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

using Complex = std::complex<double>;

struct Hermitian {
  Matrix real, imag;
};

// Σ over `rank` random vectors z of z·zᴴ.
Hermitian RandomHermitian(int n, int rank, uint64_t seed) {
  Random random(seed);
  Hermitian h{Matrix(n, n), Matrix(n, n)};
  for (int r = 0; r < rank; ++r) {
    std::vector<Complex> z(n);
    for (Complex& element : z) element = {random.Normal(), random.Normal()};
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        h.real(i, j) += (z[i] * std::conj(z[j])).real();
        h.imag(i, j) += i == j ? 0 : (z[i] * std::conj(z[j])).imag();
      }
    }
  }
  return h;
}

void ExpectDecomposes(const Hermitian& h) {
  const int64_t n = h.real.rows();
  const absl::StatusOr<HermitianEigen> eigen = DecomposeHermitian(h.real, h.imag);
  ASSERT_TRUE(eigen.ok()) << eigen.status();
  ASSERT_EQ(static_cast<int64_t>(eigen->values.size()), n);
  const auto vector = [&](int64_t i, int64_t j) {
    return Complex(eigen->real(i, j), eigen->imag(i, j));
  };
  const double tolerance = 1e-13 * static_cast<double>(n) * (1 + std::abs(eigen->values[0])) * 10;
  for (int64_t j = 0; j < n; ++j) {
    if (j > 0) {
      EXPECT_GE(eigen->values[j - 1], eigen->values[j]);
    }
    for (int64_t i = 0; i < n; ++i) {
      Complex hv = 0, product = 0;
      for (int64_t k = 0; k < n; ++k) {
        hv += Complex(h.real(i, k), h.imag(i, k)) * vector(k, j);
        product += std::conj(vector(k, i)) * vector(k, j);
      }
      EXPECT_LT(std::abs(hv - eigen->values[j] * vector(i, j)), tolerance) << i << ", " << j;
      EXPECT_LT(std::abs(product - (i == j ? 1.0 : 0.0)), 1e-12) << i << ", " << j;
    }
  }
}

class HermitianEigenTest : public testing::TestWithParam<int> {};

TEST_P(HermitianEigenTest, Decomposes) {
  ExpectDecomposes(RandomHermitian(GetParam(), 2 * GetParam(), 20 + GetParam()));
}

// Of a low rank most eigenvalues are the same, zero.
TEST_P(HermitianEigenTest, DecomposesWhereEigenvaluesAreEqual) {
  ExpectDecomposes(RandomHermitian(GetParam(), 1, 30 + GetParam()));
  ExpectDecomposes({Matrix::Identity(GetParam()), Matrix(GetParam(), GetParam())});
  ExpectDecomposes({Matrix(GetParam(), GetParam()), Matrix(GetParam(), GetParam())});
}

INSTANTIATE_TEST_SUITE_P(Sizes, HermitianEigenTest, testing::Values(1, 2, 3, 8, 17));

TEST(HermitianEigenErrorTest, NotFiniteIsAnError) {
  Matrix real = Matrix::Identity(3);
  real(1, 1) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(DecomposeHermitian(real, Matrix(3, 3)).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace transmla
