#include "tests/reference/linear.h"

#include <algorithm>

#include "tests/engine/backend/backend_fixture.h"
#include "tests/engine/backend/linear_checks.h"

namespace transmla {
namespace {

constexpr DType kTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                            DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K, DType::kQ3_K,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

struct Matrix {
  WeightPtr packed;
  std::vector<float> values;  // decoded by the definition
};

Matrix MakeMatrix(Backend& backend, DType dtype, const Shape& shape, Random random) {
  Matrix matrix;
  auto bytes = std::make_shared<std::vector<uint8_t>>();
  for (int64_t row = 0; row < shape.rows(); ++row) {
    const std::vector<uint8_t> encoded = RandomRows(random, dtype, shape.cols());
    bytes->insert(bytes->end(), encoded.begin(), encoded.end());
    matrix.values.resize(matrix.values.size() + shape.cols());
    DequantizeRow(dtype, encoded.data(),
                  absl::MakeSpan(matrix.values).last(static_cast<size_t>(shape.cols())));
  }
  auto weight =
      backend.Pack({.view = {bytes->data(), dtype, shape},
                    .owner = bytes,
                    .role = shape.rank() == 3 ? WeightRole::kPerHead : WeightRole::kLinear});
  CHECK_OK(weight.status());
  matrix.packed = std::move(weight).value();
  return matrix;
}

class LinearTest : public BackendTest {};

TEST_P(LinearTest, AgreesWithReferenceForEveryType) {
  for (const DType dtype : kTypes) {
    const int64_t k = 2 * TraitsOf(dtype).block_elements * (IsBlockQuantized(dtype) ? 1 : 37) + 0;
    for (const int64_t rows : {1, 7, 33, 70}) {
      const Matrix matrix = MakeMatrix(backend(), dtype, {rows, k}, Random(rows));
      for (const int64_t tokens : {1, 2, 3, 4, 5, 9}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " rows ", rows, " tokens ", tokens));
        Random random(17);
        const std::vector<float> in = RandomFloats(random, tokens * k);
        const std::vector<float> out = RunLinear(backend(), *matrix.packed, in, tokens);
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t r = 0; r < rows; ++r) {
            const reference::Dot dot =
                reference::DotProduct(matrix.values.data() + r * k, in.data() + t * k, k);
            ASSERT_NEAR(out[t * rows + r], dot.sum, reference::DotTolerance(dot, k))
                << "row " << r << " token " << t;
          }
        }
      }
    }
  }
}

// A token alone goes through decoding in registers, many through decoded rows.
TEST_P(LinearTest, TokensAloneAndTogetherGiveTheSameBits) {
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    const int64_t k = 512;
    const int64_t rows = 67;
    const int64_t tokens = 23;
    const Matrix matrix = MakeMatrix(backend(), dtype, {rows, k}, Random(1));
    Random random(2);
    const std::vector<float> in = RandomFloats(random, tokens * k);
    ExpectBitsOfTokensTogether(backend(), *matrix.packed, in, tokens, {1, 2, 3, 4, 5, 6});
  }
}

TEST_P(LinearTest, ThreadsDoNotChangeBits) {
  const std::unique_ptr<Backend> single = MakeBackend(GetParam(), 1);
  Random random(3);
  const std::vector<float> in = RandomFloats(random, 9 * 256);
  const Matrix a = MakeMatrix(backend(), DType::kQ4_K, {200, 256}, Random(4));
  const Matrix b = MakeMatrix(*single, DType::kQ4_K, {200, 256}, Random(4));
  EXPECT_EQ(RunLinear(backend(), *a.packed, in, 9), RunLinear(*single, *b.packed, in, 9));
}

TEST_P(LinearTest, AddsBiasAndResidual) {
  const int64_t k = 40;
  const int64_t rows = 13;
  const int64_t tokens = 6;
  const Matrix matrix = MakeMatrix(backend(), DType::kF32, {rows, k}, Random(5));
  Random random(6);
  const std::vector<float> bias = RandomFloats(random, rows);
  const std::vector<float> residual = RandomFloats(random, tokens * rows);
  const std::vector<float> in = RandomFloats(random, tokens * k);
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
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t r = 0; r < rows; ++r) {
      const reference::Dot dot =
          reference::DotProduct(matrix.values.data() + r * k, in.data() + t * k, k);
      const double added = double{bias[r]} + residual[t * rows + r];
      EXPECT_NEAR(
          out[t * rows + r], dot.sum + added,
          reference::DotTolerance(dot, k, std::abs(bias[r]) + std::abs(residual[t * rows + r])));
    }
  }
}

TEST_P(LinearTest, PerHeadReadsItsPartOfEachHead) {
  for (const int64_t tokens : {1, 6}) {
    const Matrix matrix = MakeMatrix(backend(), DType::kBF16, {3, 37, 19}, Random(7));
    ExpectPartsOfHeads(backend(), *matrix.packed, matrix.values, tokens,
                       [](const std::vector<float>& x) { return x; });
  }
}

TEST_P(LinearTest, BrokenWeightsDoNotCrash) {
  for (const DType dtype : kTypes) {
    Random random(9);
    const int64_t k = 512;
    auto bytes = std::make_shared<std::vector<uint8_t>>(RowBytes(dtype, k) * 8);
    for (uint8_t& byte : *bytes) byte = static_cast<uint8_t>(random());
    auto weight = backend().Pack(
        {.view = {bytes->data(), dtype, {8, k}}, .owner = bytes, .role = WeightRole::kLinear});
    ASSERT_TRUE(weight.ok());
    EXPECT_EQ(RunLinear(backend(), **weight, RandomFloats(random, 6 * k), 6).size(), 48u);
  }
}

INSTANTIATE_BACKENDS(LinearTest);

}  // namespace
}  // namespace transmla
