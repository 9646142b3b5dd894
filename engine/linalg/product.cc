#include "engine/linalg/product.h"

#include <cmath>
#include <limits>
#include <vector>

#include <cblas.h>

#include "engine/base/check.h"
#include "engine/base/random.h"

namespace transmla {
namespace {

int64_t RowsOf(const ConstMatrixView& m, Transpose t) {
  return t == Transpose::kNo ? m.rows : m.cols;
}
int64_t ColsOf(const ConstMatrixView& m, Transpose t) {
  return t == Transpose::kNo ? m.cols : m.rows;
}

// op(m) · x, or |op(m)| · x.
std::vector<double> Apply(const ConstMatrixView& m, Transpose t, const std::vector<double>& x,
                          bool absolute) {
  std::vector<double> y(RowsOf(m, t));
  for (int64_t i = 0; i < m.rows; ++i) {
    const double* row = m.data + i * m.stride;
    if (t == Transpose::kNo) {
      double sum = 0;
      for (int64_t j = 0; j < m.cols; ++j) sum += (absolute ? std::abs(row[j]) : row[j]) * x[j];
      y[i] = sum;
    } else {
      for (int64_t j = 0; j < m.cols; ++j) y[j] += (absolute ? std::abs(row[j]) : row[j]) * x[i];
    }
  }
  return y;
}

}  // namespace

namespace internal {

Matrix MultiplyPlainly(const ConstMatrixView& a, Transpose transpose_a, const ConstMatrixView& b,
                       Transpose transpose_b) {
  const int64_t inner = ColsOf(a, transpose_a);
  Matrix c(RowsOf(a, transpose_a), ColsOf(b, transpose_b));
  for (int64_t i = 0; i < c.rows(); ++i) {
    const absl::Span<double> row = c.row(i);
    for (int64_t k = 0; k < inner; ++k) {
      const double factor = transpose_a == Transpose::kNo ? a(i, k) : a(k, i);
      for (int64_t j = 0; j < c.cols(); ++j)
        row[j] += factor * (transpose_b == Transpose::kNo ? b(k, j) : b(j, k));
    }
  }
  return c;
}

bool ProductIsRight(const ConstMatrixView& a, Transpose transpose_a, const ConstMatrixView& b,
                    Transpose transpose_b, const Matrix& c) {
  Random random(0x5EED);
  // Away from zero, so that an error in any column shows.
  std::vector<double> x(c.cols());
  for (double& value : x) value = (0.5 + random.Uniform()) * (random.Below(2) == 0 ? -1.0 : 1.0);
  std::vector<double> magnitude(x.size());
  for (size_t i = 0; i < x.size(); ++i) magnitude[i] = std::abs(x[i]);

  const std::vector<double> wanted =
      Apply(a, transpose_a, Apply(b, transpose_b, x, /*absolute=*/false), /*absolute=*/false);
  const std::vector<double> bound =
      Apply(a, transpose_a, Apply(b, transpose_b, magnitude, /*absolute=*/true), /*absolute=*/true);
  const std::vector<double> got = Apply(c, Transpose::kNo, x, /*absolute=*/false);
  // Sums of n terms are off by at most n · epsilon of the sum of magnitudes (Higham, "Accuracy and
  // Stability of Numerical Algorithms", section 3.1); three such sums meet here.
  const double terms = static_cast<double>(ColsOf(a, transpose_a) + 2 * c.cols() + 8);
  const double tolerance = 3 * terms * std::numeric_limits<double>::epsilon();
  for (size_t i = 0; i < got.size(); ++i) {
    if (!(std::abs(got[i] - wanted[i]) <= tolerance * bound[i])) return false;
  }
  return true;
}

}  // namespace internal

Matrix Multiply(const ConstMatrixView& a, Transpose transpose_a, const ConstMatrixView& b,
                Transpose transpose_b) {
  CHECK_EQ(ColsOf(a, transpose_a), RowsOf(b, transpose_b));
  Matrix c(RowsOf(a, transpose_a), ColsOf(b, transpose_b));
  const int64_t inner = ColsOf(a, transpose_a);
  if (c.empty() || inner == 0) return c;
  cblas_dgemm(CblasRowMajor, transpose_a == Transpose::kNo ? CblasNoTrans : CblasTrans,
              transpose_b == Transpose::kNo ? CblasNoTrans : CblasTrans, static_cast<int>(c.rows()),
              static_cast<int>(c.cols()), static_cast<int>(inner), 1.0, a.data,
              static_cast<int>(a.stride), b.data, static_cast<int>(b.stride), 0.0,
              c.values().data(), static_cast<int>(c.cols()));
  if (internal::ProductIsRight(a, transpose_a, b, transpose_b, c)) return c;
  return internal::MultiplyPlainly(a, transpose_a, b, transpose_b);
}

}  // namespace transmla
