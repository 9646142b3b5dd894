// Linear and PerHeadLinear of BF16 weights with CpuOptions::quantised_activations: BF16 products
// where the processor has them, the same as without the option elsewhere.
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "engine/tensor/float_types.h"
#include "tests/engine/backend/backend_fixture.h"
#include "tests/reference/linear.h"

namespace transmla {
namespace {

class Bf16LinearTest : public BackendTest {
 protected:
  Bf16LinearTest() : BackendTest(/*quantised_activations=*/true) {}

  // Activations as this backend multiplies them.
  std::vector<float> AsMultiplied(std::vector<float> x) const {
    for (float& value : x) {
      if (GetParam() == "avx512bf16") value = Bf16ToFloat(FloatToBf16(value));
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
  const std::vector<float> together = RunLinear(backend(), *matrix.packed, in, tokens);
  for (const int64_t count : {1, 2, 3, 4, 5, 6}) {
    for (int64_t t = 0; t + count <= tokens; t += count) {
      const std::vector<float> part(in.begin() + t * k, in.begin() + (t + count) * k);
      const std::vector<float> alone = RunLinear(backend(), *matrix.packed, part, count);
      ASSERT_EQ(std::memcmp(alone.data(), together.data() + t * rows, alone.size() * sizeof(float)),
                0)
          << count << " tokens from " << t;
    }
  }
}

TEST_P(Bf16LinearTest, AddsBiasAndResidual) {
  const int64_t k = 40;
  const int64_t rows = 13;
  const Matrix matrix = MakeMatrix(backend(), {rows, k}, 5);
  for (const int64_t tokens : {1, 6}) {
    Random random(6);
    const std::vector<float> bias = RandomFloats(random, rows);
    const std::vector<float> residual = RandomFloats(random, tokens * rows);
    const std::vector<float> in = RandomFloats(random, tokens * k);
    const std::vector<float> plain = RunLinear(backend(), *matrix.packed, in, tokens);
    const WeightPtr packed_bias = PackFloats(backend(), {rows}, bias, WeightRole::kVector);
    Activations x(backend(), {tokens, k}, in);
    Activations y(backend(), {tokens, rows}, residual);
    ASSERT_TRUE(backend()
                    .Linear({.in = x.view(),
                             .weight = matrix.packed.get(),
                             .bias = packed_bias.get(),
                             .accumulate = true,
                             .out = y.view()})
                    .ok());
    const std::vector<float> out = y.Read();
    for (int64_t i = 0; i < tokens * rows; ++i) {
      EXPECT_EQ(out[i], residual[i] + (plain[i] + bias[i % rows]));
    }
  }
}

TEST_P(Bf16LinearTest, PerHeadReadsItsPartOfEachHead) {
  const int64_t heads = 3;
  const int64_t rows = 37;
  const int64_t k = 19;
  const int64_t width = 26;
  const int offset = 5;
  const Matrix matrix = MakeMatrix(backend(), {heads, rows, k}, 7);
  for (const int64_t tokens : {1, 6}) {
    Random random(8);
    std::vector<float> in = RandomFloats(random, tokens * heads * width);
    // What lies beside the part must not be read into a sum.
    for (int64_t i = 0; i < tokens * heads; ++i) {
      in[i * width + offset - 1] = std::numeric_limits<float>::quiet_NaN();
      in[i * width + offset + k] = std::numeric_limits<float>::quiet_NaN();
    }
    Activations x(backend(), {tokens, heads, width}, in);
    Activations y(backend(), {tokens, heads, rows}, std::numeric_limits<float>::quiet_NaN());
    ASSERT_TRUE(backend()
                    .PerHeadLinear({.in = x.view(),
                                    .in_offset = offset,
                                    .weight = matrix.packed.get(),
                                    .out = y.view()})
                    .ok());
    const std::vector<float> multiplied = AsMultiplied(in);
    const std::vector<float> out = y.Read();
    for (int64_t i = 0; i < tokens * heads; ++i) {
      for (int64_t r = 0; r < rows; ++r) {
        const reference::Dot dot =
            reference::DotProduct(matrix.values.data() + (i % heads * rows + r) * k,
                                  multiplied.data() + i * width + offset, k);
        ASSERT_NEAR(out[i * rows + r], dot.sum, reference::DotTolerance(dot, k));
      }
    }
  }
}

INSTANTIATE_BACKENDS(Bf16LinearTest);

}  // namespace
}  // namespace transmla
