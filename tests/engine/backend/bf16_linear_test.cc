// Linear and PerHeadLinear of BF16 weights with CpuOptions::quantised_activations: BF16 products
// where the processor has them, the same as without the option elsewhere.
#include <memory>
#include <vector>

#include "engine/tensor/float_types.h"
#include "tests/engine/backend/backend_fixture.h"
#include "tests/engine/backend/linear_checks.h"
#include "tests/reference/linear.h"

namespace transmla {
namespace {

class Bf16LinearTest : public BackendTest {
 protected:
  Bf16LinearTest() : BackendTest(/*quantised_activations=*/true) {}

  // Activations as this backend multiplies them.
  std::vector<float> AsMultiplied(std::vector<float> x) const {
    for (float& value : x) {
      if (RoundsToBf16(GetParam())) value = Bf16ToFloat(FloatToBf16(value));
    }
    return x;
  }
};

struct Matrix {
  WeightPtr packed;
  std::vector<float> values;
};

Matrix MakeMatrix(Backend& backend, const Shape& shape, uint64_t seed) {
  Random random(seed);
  Matrix matrix;
  matrix.values.resize(shape.elements());
  auto bytes =
      std::make_shared<std::vector<uint8_t>>(RandomRows(random, DType::kBF16, shape.elements()));
  DequantizeRow(DType::kBF16, bytes->data(), absl::MakeSpan(matrix.values));
  auto weight =
      backend.Pack({.view = {bytes->data(), DType::kBF16, shape},
                    .owner = bytes,
                    .role = shape.rank() == 3 ? WeightRole::kPerHead : WeightRole::kLinear});
  CHECK_OK(weight.status());
  matrix.packed = std::move(weight).value();
  return matrix;
}

TEST_P(Bf16LinearTest, AgreesWithReference) {
  for (const int64_t k : {1, 31, 32, 63, 72, 160, 577}) {
    for (const int64_t rows : {1, 3, 4, 7, 16, 33, 70}) {
      const Matrix matrix = MakeMatrix(backend(), {rows, k}, rows);
      for (const int64_t tokens : {1, 2, 3, 4, 5, 7, 21}) {
        SCOPED_TRACE(absl::StrCat("k ", k, " rows ", rows, " tokens ", tokens));
        Random random(17);
        const std::vector<float> in = RandomFloats(random, tokens * k);
        const std::vector<float> x = AsMultiplied(in);
        const std::vector<float> out = RunLinear(backend(), *matrix.packed, in, tokens);
        for (int64_t i = 0; i < tokens * rows; ++i) {
          const reference::Dot dot = reference::DotProduct(matrix.values.data() + i % rows * k,
                                                           x.data() + i / rows * k, k);
          ASSERT_NEAR(out[i], dot.sum, reference::DotTolerance(dot, k)) << "element " << i;
        }
      }
    }
  }
}

TEST_P(Bf16LinearTest, TokensAloneAndTogetherGiveTheSameBits) {
  const int64_t k = 200;
  const int64_t rows = 67;
  const int64_t tokens = 23;
  const Matrix matrix = MakeMatrix(backend(), {rows, k}, 1);
  Random random(2);
  const std::vector<float> in = RandomFloats(random, tokens * k);
  ExpectBitsOfTokensTogether(backend(), *matrix.packed, in, tokens, {1, 2, 3, 4, 5, 6});
}

// So many that activations packed for tile registers do not fit the workspace at once.
TEST_P(Bf16LinearTest, ManyTokensGiveTheBitsOfEachAlone) {
  const int64_t k = 1000;
  const int64_t tokens = 16400;
  const Matrix matrix = MakeMatrix(backend(), {3, k}, 9);
  Random random(10);
  const std::vector<float> in = RandomFloats(random, tokens * k);
  const std::vector<float> together = RunLinear(backend(), *matrix.packed, in, tokens);
  for (const int64_t t : {int64_t{0}, int64_t{8191}, int64_t{16383}, int64_t{16384}, tokens - 1}) {
    const std::vector<float> one(in.begin() + t * k, in.begin() + (t + 1) * k);
    const std::vector<float> alone = RunLinear(backend(), *matrix.packed, one, 1);
    EXPECT_EQ(std::vector<float>(together.begin() + t * 3, together.begin() + (t + 1) * 3), alone);
  }
}

TEST_P(Bf16LinearTest, AddsBiasAndResidual) {
  const Matrix matrix = MakeMatrix(backend(), {13, 40}, 5);
  for (const int64_t tokens : {1, 6}) ExpectBiasAndResidualAdded(backend(), *matrix.packed, tokens);
}

TEST_P(Bf16LinearTest, PerHeadReadsItsPartOfEachHead) {
  const Matrix matrix = MakeMatrix(backend(), {3, 37, 19}, 7);
  for (const int64_t tokens : {1, 6}) {
    ExpectPartsOfHeads(backend(), *matrix.packed, matrix.values, tokens,
                       [this](const std::vector<float>& x) { return AsMultiplied(x); });
  }
}

INSTANTIATE_BACKENDS(Bf16LinearTest);

}  // namespace
}  // namespace transmla
