// Matrix products in float32, for training, where float64 would double time and memory.
//
// BLAS does the work, with its own threads. Products are not checked one by one, as product.h's
// are; each of the four kinds is tried once a process against plain loops, and if one is wrong, all
// products are computed by plain loops from then on.
#ifndef TRANSMLA_ENGINE_LINALG_FLOAT_PRODUCT_H_
#define TRANSMLA_ENGINE_LINALG_FLOAT_PRODUCT_H_

#include <cstdint>
#include <vector>

#include "engine/linalg/product.h"

namespace transmla {

// Block of a row-major matrix: element (i, j) is data[i * stride + j].
struct FloatView {
  const float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;
};

struct MutableFloatView {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  operator FloatView() const {
    return {data, rows, cols, stride};
  }  // NOLINT(google-explicit-constructor)
};

// An owning row-major matrix of floats.
class FloatMatrix {
 public:
  FloatMatrix() = default;
  // All zeros.
  FloatMatrix(int64_t rows, int64_t cols) : rows_(rows), cols_(cols), values_(rows * cols) {}

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  bool empty() const { return values_.empty(); }
  float* row(int64_t i) { return values_.data() + i * cols_; }
  const float* row(int64_t i) const { return values_.data() + i * cols_; }
  std::vector<float>& values() { return values_; }
  const std::vector<float>& values() const { return values_; }

  FloatView view() const { return {values_.data(), rows_, cols_, cols_}; }
  MutableFloatView view() { return {values_.data(), rows_, cols_, cols_}; }
  // Rows [row, row + rows), columns [col, col + cols). REQUIRES: inside the matrix.
  FloatView block(int64_t row, int64_t col, int64_t rows, int64_t cols) const {
    return {values_.data() + row * cols_ + col, rows, cols, cols_};
  }
  MutableFloatView block(int64_t row, int64_t col, int64_t rows, int64_t cols) {
    return {values_.data() + row * cols_ + col, rows, cols, cols_};
  }
  operator FloatView() const { return view(); }  // NOLINT(google-explicit-constructor)

 private:
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::vector<float> values_;
};

// Rounded.
FloatMatrix ToFloats(const Matrix& m);

// c = op(a) · op(b), or c += op(a) · op(b) if `accumulate`. REQUIRES: dimensions agree (CHECKed).
void MultiplyFloats(const FloatView& a, Transpose transpose_a, const FloatView& b,
                    Transpose transpose_b, bool accumulate, const MutableFloatView& c);

// While it lives, BLAS computes each product on the thread that asks for it: for callers that have
// one product under way on every core. Products of all threads are affected; one at a time.
class OneThreadAProduct {
 public:
  OneThreadAProduct();
  ~OneThreadAProduct();
  OneThreadAProduct(const OneThreadAProduct&) = delete;
  OneThreadAProduct& operator=(const OneThreadAProduct&) = delete;

 private:
  const int before_;  // LinalgThreads
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_LINALG_FLOAT_PRODUCT_H_
