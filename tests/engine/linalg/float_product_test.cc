#include "engine/linalg/float_product.h"

#include <optional>
#include <tuple>

#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

FloatMatrix RandomFloats(int64_t rows, int64_t cols, uint64_t seed) {
  Random random(seed);
  FloatMatrix m(rows, cols);
  for (float& value : m.values()) value = static_cast<float>(random.Uniform()) - 0.5f;
  return m;
}

// Whether transposed, and whether each product has one thread.
class FloatProductTest : public testing::TestWithParam<std::tuple<bool, bool, bool>> {};

TEST_P(FloatProductTest, MatchesTheDefinition) {
  const auto [transpose_a, transpose_b, one_thread] = GetParam();
  constexpr int64_t kM = 37, kN = 53, kK = 71;
  std::optional<OneThreadAProduct> scope;
  if (one_thread) scope.emplace();
  const FloatMatrix a = transpose_a ? RandomFloats(kK, kM, 1) : RandomFloats(kM, kK, 1);
  const FloatMatrix b = transpose_b ? RandomFloats(kN, kK, 2) : RandomFloats(kK, kN, 2);
  const FloatMatrix before = RandomFloats(kM, kN, 3);
  for (const bool accumulate : {false, true}) {
    FloatMatrix c = before;
    MultiplyFloats(a, transpose_a ? Transpose::kYes : Transpose::kNo, b,
                   transpose_b ? Transpose::kYes : Transpose::kNo, accumulate, c.view());
    for (int64_t i = 0; i < kM; ++i) {
      for (int64_t j = 0; j < kN; ++j) {
        double wanted = accumulate ? before.row(i)[j] : 0;
        for (int64_t l = 0; l < kK; ++l)
          wanted += double{transpose_a ? a.row(l)[i] : a.row(i)[l]} *
                    (transpose_b ? b.row(j)[l] : b.row(l)[j]);
        // Sums of kK products of numbers within 1/2, rounded at each step.
        EXPECT_NEAR(c.row(i)[j], wanted, kK * 0.25 * kK * 6e-8) << i << " " << j;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, FloatProductTest,
                         testing::Combine(testing::Bool(), testing::Bool(), testing::Bool()));

}  // namespace
}  // namespace transmla
