#include "engine/linalg/float_product.h"

#include <algorithm>
#include <cmath>

#include <cblas.h>

#include "engine/base/check.h"
#include "engine/base/random.h"
#include "engine/linalg/threads.h"

namespace transmla {
namespace {

void MultiplyPlainly(const FloatView& a, Transpose transpose_a, const FloatView& b,
                     Transpose transpose_b, bool accumulate, const MutableFloatView& c) {
  const int64_t inner = transpose_a == Transpose::kNo ? a.cols : a.rows;
  for (int64_t i = 0; i < c.rows; ++i) {
    float* const row = c.data + i * c.stride;
    if (!accumulate) std::fill_n(row, c.cols, 0.0f);
    for (int64_t k = 0; k < inner; ++k) {
      const float factor =
          transpose_a == Transpose::kNo ? a.data[i * a.stride + k] : a.data[k * a.stride + i];
      for (int64_t j = 0; j < c.cols; ++j)
        row[j] += factor * (transpose_b == Transpose::kNo ? b.data[k * b.stride + j]
                                                          : b.data[j * b.stride + k]);
    }
  }
}

void MultiplyByBlas(const FloatView& a, Transpose transpose_a, const FloatView& b,
                    Transpose transpose_b, bool accumulate, const MutableFloatView& c) {
  const int64_t inner = transpose_a == Transpose::kNo ? a.cols : a.rows;
  const auto flag = [](Transpose t) { return t == Transpose::kNo ? CblasNoTrans : CblasTrans; };
  cblas_sgemm(CblasRowMajor, flag(transpose_a), flag(transpose_b), static_cast<int>(c.rows),
              static_cast<int>(c.cols), static_cast<int>(inner), 1.0f, a.data,
              static_cast<int>(a.stride), b.data, static_cast<int>(b.stride),
              accumulate ? 1.0f : 0.0f, c.data, static_cast<int>(c.stride));
}

// Sizes beyond every blocking of BLAS's kernels, and even in no direction.
bool BlasIsRight() {
  constexpr int64_t kM = 131, kN = 187, kK = 419;
  Random random(0x5EED);
  const auto filled = [&random](int64_t rows, int64_t cols) {
    FloatMatrix matrix(rows, cols);
    for (float& value : matrix.values()) value = static_cast<float>(random.Uniform()) - 0.5f;
    return matrix;
  };
  for (const Transpose ta : {Transpose::kNo, Transpose::kYes}) {
    for (const Transpose tb : {Transpose::kNo, Transpose::kYes}) {
      const FloatMatrix a = ta == Transpose::kNo ? filled(kM, kK) : filled(kK, kM);
      const FloatMatrix b = tb == Transpose::kNo ? filled(kK, kN) : filled(kN, kK);
      FloatMatrix wanted = filled(kM, kN), got = wanted;
      MultiplyPlainly(a.view(), ta, b.view(), tb, /*accumulate=*/true, wanted.view());
      MultiplyByBlas(a.view(), ta, b.view(), tb, /*accumulate=*/true, got.view());
      // Products of numbers within 1/2: sums of kK of them, each below 1/4, rounded at each step.
      constexpr float kTolerance = kK * 0.25f * kK * 6e-8f;
      for (size_t i = 0; i < got.values().size(); ++i)
        if (!(std::abs(got.values()[i] - wanted.values()[i]) <= kTolerance)) return false;
    }
  }
  return true;
}

}  // namespace

FloatMatrix ToFloats(const Matrix& m) {
  FloatMatrix floats(m.rows(), m.cols());
  std::copy(m.values().begin(), m.values().end(), floats.values().begin());
  return floats;
}

void MultiplyFloats(const FloatView& a, Transpose transpose_a, const FloatView& b,
                    Transpose transpose_b, bool accumulate, const MutableFloatView& c) {
  CHECK_EQ(transpose_a == Transpose::kNo ? a.rows : a.cols, c.rows);
  CHECK_EQ(transpose_b == Transpose::kNo ? b.cols : b.rows, c.cols);
  CHECK_EQ(transpose_a == Transpose::kNo ? a.cols : a.rows,
           transpose_b == Transpose::kNo ? b.rows : b.cols);
  if (c.rows == 0 || c.cols == 0) return;
  static const bool trusted = BlasIsRight();
  (trusted ? MultiplyByBlas : MultiplyPlainly)(a, transpose_a, b, transpose_b, accumulate, c);
}

OneThreadAProduct::OneThreadAProduct() : before_(LinalgThreads()) { SetLinalgThreads(1); }

OneThreadAProduct::~OneThreadAProduct() { SetLinalgThreads(before_); }

}  // namespace transmla
