// Linear through cuBLAS against its definition, on sizes that divide nothing evenly.
#include "tests/reference/linear.h"

#include <cstring>
#include <limits>

#include "engine/tensor/float_types.h"
#include "tests/engine/backend/backend_fixture.h"
#include "tests/engine/backend/cuda/gpu_fixture.h"

namespace transmla {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// What BF16 activations can hold, as floats.
std::vector<float> RandomBf16(Random& random, int64_t n) {
  std::vector<float> values = RandomFloats(random, n);
  for (float& value : values) value = Bf16ToFloat(FloatToBf16(value));
  return values;
}

struct Matrix {
  WeightPtr packed;
  std::vector<float> values;  // decoded by the definition
};

Matrix MakeMatrix(Backend& backend, DType dtype, int64_t rows, int64_t k, Random random) {
  Matrix matrix;
  const std::vector<uint8_t> bytes = RandomRows(random, dtype, rows * k);
  matrix.values.resize(rows * k);
  DequantizeRow(dtype, bytes.data(), absl::MakeSpan(matrix.values));
  auto weight =
      backend.Pack({.view = {bytes.data(), dtype, {rows, k}}, .role = WeightRole::kLinear});
  CHECK_OK(weight.status());
  matrix.packed = std::move(weight).value();
  return matrix;
}

struct Case {
  int64_t tokens;
  int64_t rows;
  int64_t k;
  bool bias;
  bool accumulate;
};

class CudaLinearTest : public GpuTest {
 protected:
  // in: [tokens, k]
  std::vector<float> RunLinear(const PackedWeight& weight, const std::vector<float>& in,
                               int64_t tokens) {
    const int64_t rows = weight.shape()[0];
    Activations x(backend(), {tokens, weight.shape()[1]}, in);
    Activations y(backend(), {tokens, rows}, kNan);
    CHECK_OK(backend().Linear({.in = x.view(), .weight = &weight, .out = y.view()}));
    return y.Read();
  }

  void Check(DType dtype, const Case& c) {
    Random random(17);
    const Matrix matrix = MakeMatrix(backend(), dtype, c.rows, c.k, random.Split("weight"));
    const std::vector<float> in = RandomBf16(random, c.tokens * c.k);
    const std::vector<float> bias = RandomFloats(random, c.rows);
    const std::vector<float> residual = RandomBf16(random, c.tokens * c.rows);
    const WeightPtr packed_bias = PackFloats(backend(), {c.rows}, bias, WeightRole::kVector);
    // A row more than is used, which must be neither read nor written.
    std::vector<float> in_and_more = in;
    in_and_more.resize(in.size() + c.k, kNan);
    std::vector<float> out_and_more =
        c.accumulate ? residual : std::vector<float>(residual.size(), kNan);
    out_and_more.resize(residual.size() + c.rows, 7.0f);
    Activations x(backend(), {c.tokens + 1, c.k}, in_and_more);
    Activations y(backend(), {c.tokens + 1, c.rows}, out_and_more);
    const MutableTensorView x_view{x.view().data, x.view().dtype, {c.tokens, c.k}};
    const MutableTensorView y_view{y.view().data, y.view().dtype, {c.tokens, c.rows}};
    const absl::Status status = backend().Linear({.in = x_view,
                                                  .weight = matrix.packed.get(),
                                                  .bias = c.bias ? packed_bias.get() : nullptr,
                                                  .accumulate = c.accumulate,
                                                  .out = y_view});
    ASSERT_TRUE(status.ok()) << status;
    const std::vector<float> out = y.Read();
    for (int64_t t = 0; t < c.tokens; ++t) {
      for (int64_t r = 0; r < c.rows; ++r) {
        const reference::Dot dot =
            reference::DotProduct(matrix.values.data() + r * c.k, in.data() + t * c.k, c.k);
        const double added = (c.bias ? double{bias[r]} : 0.0) +
                             (c.accumulate ? double{residual[t * c.rows + r]} : 0.0);
        const double expected = dot.sum + added;
        // Tensor cores cut off where a processor rounds: twice the bound. Then one rounding to
        // BF16.
        const double sum_error =
            2 * reference::DotTolerance(dot, c.k, std::abs(bias[r]) + std::abs(added));
        ASSERT_NEAR(out[t * c.rows + r], expected,
                    sum_error + 0x1p-8 * (std::abs(expected) + sum_error))
            << "row " << r << " token " << t;
      }
    }
    for (int64_t r = 0; r < c.rows; ++r) ASSERT_EQ(out[c.tokens * c.rows + r], 7.0f);
  }
};

TEST_F(CudaLinearTest, AgreesWithReferenceForEveryType) {
  constexpr int64_t kSizes[][2] = {{1, 1}, {1, 130}, {7, 13}, {65, 33}, {131, 257}};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const auto& [rows, k] : kSizes) {
      for (const int64_t tokens : {1, 3, 63, 64, 65, 130}) {
        for (const bool bias : {false, true}) {
          for (const bool accumulate : {false, true}) {
            SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " [", rows, ", ", k, "] tokens ", tokens,
                                      bias ? " bias" : "", accumulate ? " accumulate" : ""));
            Check(dtype, {tokens, rows, k, bias, accumulate});
          }
        }
      }
    }
  }
}

// More than one part of an F16 weight is widened.
TEST_F(CudaLinearTest, LargeHalfWeightsAreWidenedInParts) {
  Check(DType::kF16, {.tokens = 2, .rows = 4111, .k = 4099, .bias = true, .accumulate = true});
}

TEST_F(CudaLinearTest, TokensAloneAndTogetherGiveTheSameBits) {
  const int64_t k = 515;
  const int64_t rows = 67;
  const int64_t tokens = 150;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    SCOPED_TRACE(DTypeName(dtype));
    const Matrix matrix = MakeMatrix(backend(), dtype, rows, k, Random(1));
    Random random(2);
    const std::vector<float> in = RandomBf16(random, tokens * k);
    const std::vector<float> together = RunLinear(*matrix.packed, in, tokens);
    for (const int64_t count : {1, 5, 64, 77}) {
      for (int64_t t = 0; t + count <= tokens; t += count) {
        const std::vector<float> part(in.begin() + t * k, in.begin() + (t + count) * k);
        const std::vector<float> alone = RunLinear(*matrix.packed, part, count);
        ASSERT_EQ(
            std::memcmp(alone.data(), together.data() + t * rows, alone.size() * sizeof(float)), 0)
            << count << " tokens from " << t;
      }
    }
  }
}

}  // namespace
}  // namespace transmla
