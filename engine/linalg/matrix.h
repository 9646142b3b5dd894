// Matrix: an owning dense matrix of doubles, row-major, and views of its parts.
//
// Plain values without hidden sharing: a copy copies. Conversion mathematics runs in float64
// throughout (docs/conversion.md).
#ifndef TRANSMLA_ENGINE_LINALG_MATRIX_H_
#define TRANSMLA_ENGINE_LINALG_MATRIX_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

#include "engine/base/check.h"

namespace transmla {

// Read-only block of a matrix: element (i, j) is data[i * stride + j]. Valid as long as the matrix
// it was taken from.
struct ConstMatrixView {
  const double* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next, >= cols

  double operator()(int64_t i, int64_t j) const { return data[i * stride + j]; }
};

class Matrix {
 public:
  Matrix() = default;
  // All zeros.
  Matrix(int64_t rows, int64_t cols) : rows_(rows), cols_(cols), values_(rows * cols) {}

  static Matrix Identity(int64_t n) {
    Matrix result(n, n);
    for (int64_t i = 0; i < n; ++i) result(i, i) = 1.0;
    return result;
  }

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  bool empty() const { return values_.empty(); }

  double& operator()(int64_t i, int64_t j) { return values_[i * cols_ + j]; }
  double operator()(int64_t i, int64_t j) const { return values_[i * cols_ + j]; }
  absl::Span<double> row(int64_t i) {
    return absl::MakeSpan(values_).subspan(i * cols_, static_cast<size_t>(cols_));
  }
  absl::Span<const double> row(int64_t i) const {
    return absl::MakeConstSpan(values_).subspan(i * cols_, static_cast<size_t>(cols_));
  }
  absl::Span<double> values() { return absl::MakeSpan(values_); }
  absl::Span<const double> values() const { return values_; }

  ConstMatrixView view() const { return {values_.data(), rows_, cols_, cols_}; }
  // Rows [row, row + rows), columns [col, col + cols). REQUIRES: inside the matrix.
  ConstMatrixView block(int64_t row, int64_t col, int64_t rows, int64_t cols) const {
    CHECK(row >= 0 && col >= 0 && rows >= 0 && cols >= 0);
    CHECK_LE(row + rows, rows_);
    CHECK_LE(col + cols, cols_);
    return {values_.data() + row * cols_ + col, rows, cols, cols_};
  }
  operator ConstMatrixView() const { return view(); }  // NOLINT(google-explicit-constructor)

 private:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::vector<double> values_;
};

// Sum of the diagonal's elements [begin, end). REQUIRES: they are in the matrix.
inline double Trace(const Matrix& m, int64_t begin, int64_t end) {
  double sum = 0;
  for (int64_t i = begin; i < end; ++i) sum += m(i, i);
  return sum;
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_LINALG_MATRIX_H_
