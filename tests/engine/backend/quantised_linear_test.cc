// Linear with CpuOptions::quantised_activations: integer products of weights in panels.
#include "tests/reference/quantised_linear.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/backend/cpu/panel_format.h"
#include "tests/engine/backend/backend_fixture.h"
#include "tests/engine/backend/linear_checks.h"
#include "tests/reference/linear.h"

namespace transmla {
namespace {

constexpr DType kTypes[] = {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ8_0, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K};

class QuantisedLinearTest : public BackendTest {
 protected:
  QuantisedLinearTest() : BackendTest(/*quantised_activations=*/true) {}
};

struct Matrix {
  WeightPtr packed;
  std::vector<float> values;  // decoded by the definition
};

Matrix MakeMatrix(Backend& backend, DType dtype, int64_t rows, int64_t k, uint64_t seed,
                  WeightRole role = WeightRole::kLinear) {
  Random random(seed);
  const std::vector<uint8_t> bytes = RandomRows(random, dtype, rows * k);
  Matrix matrix;
  matrix.values.resize(rows * k);
  DequantizeRow(dtype, bytes.data(), absl::MakeSpan(matrix.values));
  // Without an owner: the backend may keep nothing of `bytes`.
  auto weight = backend.Pack({.view = {bytes.data(), dtype, {rows, k}}, .role = role});
  CHECK_OK(weight.status());
  matrix.packed = std::move(weight).value();
  return matrix;
}

// Activations as layers see them: blocks of very different size, and some of zeros.
std::vector<float> UnevenFloats(Random& random, int64_t n) {
  std::vector<float> values = RandomFloats(random, n);
  for (int64_t i = 0; i < n; ++i) values[i] *= std::pow(10.0f, static_cast<float>(i / 32 % 4) - 2);
  std::fill_n(values.begin(), std::min<int64_t>(n, 32), 0.0f);
  return values;
}

// Two bounds. Against the definition with the same rounded activations only float rounding may
// differ: integer sums are exact, and each block of 32 adds one product of scales, one fused
// addition and one offset. Scale · code and offset of an affine type, or of a centre, may each be
// larger than the weight they make; over a row of random codes they are less than 16 times as large
// together. Against the exact product each weight meets an activation that is off by at most half a
// scale.
TEST_P(QuantisedLinearTest, StaysWithinTheBoundsOfEveryType) {
  for (const DType dtype : kTypes) {
    const int64_t k =
        dtype == DType::kQ4_K || dtype == DType::kQ5_K || dtype == DType::kQ6_K ? 3 * 256 : 11 * 32;
    for (const int64_t rows : {1, 7, 8, 33, 70}) {
      const Matrix matrix = MakeMatrix(backend(), dtype, rows, k, rows);
      for (const int64_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 21, 35}) {
        SCOPED_TRACE(absl::StrCat(DTypeName(dtype), " rows ", rows, " tokens ", tokens));
        Random random(17 + tokens);
        const std::vector<float> in = UnevenFloats(random, tokens * k);
        const std::vector<float> out = RunLinear(backend(), *matrix.packed, in, tokens);
        for (int64_t t = 0; t < tokens; ++t) {
          const reference::QuantisedRow x = reference::QuantiseRow(in.data() + t * k, k);
          for (int64_t r = 0; r < rows; ++r) {
            const float* w = matrix.values.data() + r * k;
            const reference::Dot rounded = reference::DotProduct(w, x.values.data(), k);
            const double float_bound = 16 * reference::DotTolerance(rounded, 3 * k / 32);
            ASSERT_NEAR(out[t * rows + r], rounded.sum, float_bound)
                << "row " << r << " token " << t;
            const reference::Dot exact = reference::DotProduct(w, in.data() + t * k, k);
            const reference::Dot error = reference::DotProduct(w, x.errors.data(), k);
            ASSERT_NEAR(out[t * rows + r], exact.sum, error.magnitude + float_bound);
          }
        }
      }
    }
  }
}

// Alone, in tiles that are not full, and in panels unpacked for many.
TEST_P(QuantisedLinearTest, TokensAloneAndTogetherGiveTheSameBits) {
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    const int64_t k = 512;
    const int64_t rows = 67;
    const int64_t tokens = 45;
    const Matrix matrix = MakeMatrix(backend(), dtype, rows, k, 1);
    Random random(2);
    const std::vector<float> in = UnevenFloats(random, tokens * k);
    ExpectBitsOfTokensTogether(backend(), *matrix.packed, in, tokens,
                               {1, 2, 3, 5, 8, 11, 13, 16, 17, 22});
  }
}

TEST_P(QuantisedLinearTest, ThreadsDoNotChangeBits) {
  const std::unique_ptr<Backend> single = MakeBackend(GetParam(), 1, true);
  Random random(3);
  const std::vector<float> in = RandomFloats(random, 9 * 256);
  const Matrix a = MakeMatrix(backend(), DType::kQ4_K, 200, 256, 4);
  const Matrix b = MakeMatrix(*single, DType::kQ4_K, 200, 256, 4);
  EXPECT_EQ(RunLinear(backend(), *a.packed, in, 9), RunLinear(*single, *b.packed, in, 9));
}

// Weights in panels of two types and one that is not, with a bias; the last number of tokens does
// not fit the workspace at once.
TEST_P(QuantisedLinearTest, AGroupGivesTheBitsOfEachAlone) {
  const int64_t k = 256;
  const Matrix q = MakeMatrix(backend(), DType::kQ4_1, 70, k, 11);
  const Matrix kv = MakeMatrix(backend(), DType::kQ6_K, 33, k, 12);
  Random random(13);
  const WeightPtr plain =
      PackFloats(backend(), {5, k}, RandomFloats(random, 5 * k), WeightRole::kLinear);
  const WeightPtr bias = PackFloats(backend(), {70}, RandomFloats(random, 70), WeightRole::kVector);
  for (const int64_t tokens : {1, 5, 16, 40, 90000}) {
    SCOPED_TRACE(tokens);
    Activations x(backend(), {tokens, k}, RandomFloats(random, tokens * k));
    Activations a(backend(), {tokens, 70}), b(backend(), {tokens, 5}), c(backend(), {tokens, 33});
    ASSERT_TRUE(
        backend()
            .LinearGroup(
                {{{.in = x.view(), .weight = q.packed.get(), .bias = bias.get(), .out = a.view()},
                  {.in = x.view(), .weight = plain.get(), .out = b.view()},
                  {.in = x.view(), .weight = kv.packed.get(), .out = c.view()}}})
            .ok());
    Activations alone(backend(), {tokens, 70});
    ASSERT_TRUE(
        backend()
            .Linear(
                {.in = x.view(), .weight = q.packed.get(), .bias = bias.get(), .out = alone.view()})
            .ok());
    EXPECT_TRUE(a.Read() == alone.Read());
    EXPECT_TRUE(b.Read() == RunLinear(backend(), *plain, x.Read(), tokens));
    EXPECT_TRUE(c.Read() == RunLinear(backend(), *kv.packed, x.Read(), tokens));
  }
}

// Weights in panels, of one type and of two, weights that are not, and one of each; widths that end
// within a panel and within a task.
TEST_P(QuantisedLinearTest, AGatedPairGivesTheBitsOfItsParts) {
  const int64_t k = 256;
  const int64_t width = 203;
  Random random(14);
  const auto floats = [&] {
    return PackFloats(backend(), {width, k}, RandomFloats(random, width * k), WeightRole::kLinear);
  };
  const Matrix q4 = MakeMatrix(backend(), DType::kQ4_1, width, k, 15);
  const Matrix q4_k = MakeMatrix(backend(), DType::kQ4_K, width, k, 16);
  const Matrix bf16 = MakeMatrix(backend(), DType::kBF16, width, k, 17);
  const WeightPtr f32 = floats(), other = floats();
  const std::pair<const PackedWeight*, const PackedWeight*> pairs[] = {
      {q4.packed.get(), q4.packed.get()}, {q4.packed.get(), q4_k.packed.get()},
      {f32.get(), other.get()},           {f32.get(), q4.packed.get()},
      {q4_k.packed.get(), f32.get()},     {bf16.packed.get(), f32.get()},
  };
  for (const auto& [gate, up] : pairs) {
    for (const int64_t tokens : {1, 6, 40}) {
      SCOPED_TRACE(absl::StrCat(DTypeName(gate->dtype()), ", ", DTypeName(up->dtype()), ", ",
                                tokens, " tokens"));
      for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
        Activations x(backend(), {tokens, k}, RandomFloats(random, tokens * k));
        Activations together(backend(), {tokens, width}), up_out(backend(), {tokens, width});
        ASSERT_TRUE(backend()
                        .GatedLinear({.in = x.view(),
                                      .gate = gate,
                                      .up = up,
                                      .activation = activation,
                                      .up_out = up_out.view(),
                                      .out = together.view()})
                        .ok());
        Activations g(backend(), {tokens, width}, RunLinear(backend(), *gate, x.Read(), tokens));
        Activations u(backend(), {tokens, width}, RunLinear(backend(), *up, x.Read(), tokens));
        ASSERT_TRUE(
            backend()
                .GatedActivation(
                    {.gate = g.view(), .up = u.view(), .activation = activation, .out = g.view()})
                .ok());
        EXPECT_TRUE(up_out.Read() == u.Read());
        EXPECT_TRUE(together.Read() == g.Read());
      }
    }
  }
}

TEST_P(QuantisedLinearTest, AddsBiasAndResidual) {
  for (const int64_t tokens : {1, 6, 19}) {
    const Matrix matrix = MakeMatrix(backend(), DType::kQ5_0, 13, 96, 5);
    ExpectBiasAndResidualAdded(backend(), *matrix.packed, tokens);
  }
}

// The type's own worst case for sums in 16 bits: every code and every activation at its greatest.
TEST_P(QuantisedLinearTest, GreatestCodesDoNotOverflow) {
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    const int64_t k = 256;
    Random random(7);
    std::vector<uint8_t> bytes = RandomRows(random, dtype, k);
    // All bits of codes and scales set but in Q8_0's, where the greatest magnitude is -128; the
    // half-precision numbers keep their values.
    const std::vector<uint8_t> halves = bytes;
    const int block = TraitsOf(dtype).block_bytes;
    const int half_bytes =
        dtype == DType::kQ4_0 || dtype == DType::kQ5_0 || dtype == DType::kQ8_0 ? 2 : 4;
    for (size_t i = 0; i < bytes.size(); ++i) {
      const int at = static_cast<int>(i % block);
      if (dtype == DType::kQ6_K ? at >= 192 : at < half_bytes) continue;
      bytes[i] = dtype == DType::kQ8_0 ? 0x80 : 0xFF;
    }
    std::vector<float> values(k);
    DequantizeRow(dtype, bytes.data(), absl::MakeSpan(values));
    auto weight = backend().Pack({.view = {bytes.data(), dtype, {1, k}}});
    ASSERT_TRUE(weight.ok());
    for (const float sign : {1.0f, -1.0f}) {
      const std::vector<float> in(k, sign);
      const reference::Dot dot = reference::DotProduct(values.data(), in.data(), k);
      EXPECT_NEAR(RunLinear(backend(), **weight, in, 1)[0], dot.sum,
                  16 * reference::DotTolerance(dot, 3 * k / 32));
    }
  }
}

// Panels hold what the file held: a row looked up is the definition's, bit for bit.
TEST_P(QuantisedLinearTest, PanelsKeepEveryValue) {
  for (const DType dtype : kTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    const int64_t k = 512;
    const int rows = 21;
    const Matrix table = MakeMatrix(backend(), dtype, rows, k, 8, WeightRole::kTiedEmbedding);
    EXPECT_FALSE(table.packed->refers_to_source());
    RaggedBatch batch = MakeBatch({{.tokens = rows, .pages = {0}}});
    for (int t = 0; t < rows; ++t) batch.token_ids[t] = t * 8 % rows;
    ASSERT_TRUE(backend()
                    .Prepare({.max_tokens = rows,
                              .max_sequences = 1,
                              .max_logit_tokens = 1,
                              .max_context_tokens = 64})
                    .ok());
    ASSERT_TRUE(backend().Begin(batch).ok());
    Activations out(backend(), {rows, k});
    ASSERT_TRUE(backend().Embedding({.table = table.packed.get(), .out = out.view()}).ok());
    const std::vector<float> values = out.Read();
    for (int t = 0; t < rows; ++t) {
      ASSERT_EQ(std::memcmp(values.data() + t * k, table.values.data() + batch.token_ids[t] * k,
                            k * sizeof(float)),
                0)
          << "row " << batch.token_ids[t];
    }
  }
}

TEST_P(QuantisedLinearTest, PanelsTakeHardlyMoreThanTheFile) {
  for (const DType dtype : kTypes) {
    const Matrix matrix = MakeMatrix(backend(), dtype, 64, 1024, 9);
    EXPECT_LE(matrix.packed->bytes(), 64 * RowBytes(dtype, 1024) * 103 / 100) << DTypeName(dtype);
  }
}

TEST_P(QuantisedLinearTest, BrokenWeightsDoNotCrash) {
  for (const DType dtype : kTypes) {
    Random random(10);
    const int64_t k = 512;
    std::vector<uint8_t> bytes(RowBytes(dtype, k) * 8);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    auto weight = backend().Pack({.view = {bytes.data(), dtype, {8, k}}});
    ASSERT_TRUE(weight.ok());
    for (const int64_t tokens : {1, 6, 18}) {
      EXPECT_EQ(RunLinear(backend(), **weight, RandomFloats(random, tokens * k), tokens).size(),
                static_cast<size_t>(8 * tokens));
    }
  }
}

INSTANTIATE_BACKENDS(QuantisedLinearTest);

}  // namespace
}  // namespace transmla
