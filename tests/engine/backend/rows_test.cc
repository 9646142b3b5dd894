#include <cmath>
#include <limits>

#include "tests/engine/backend/backend_fixture.h"
#include "tests/reference/activation.h"
#include "tests/reference/linear.h"
#include "tests/reference/norm.h"

namespace transmla {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr StepLimits kLimits = {
    .max_tokens = 64, .max_sequences = 4, .max_logit_tokens = 8, .max_context_tokens = 256};

class RowsTest : public BackendTest {};

TEST_P(RowsTest, NormAgreesWithReferenceAndLeavesOtherColumns) {
  Random random(1);
  for (const int64_t n : {1, 5, 16, 33, 576}) {
    const int64_t cols = n + 3;
    const int64_t rows = 5;
    const std::vector<float> in = RandomFloats(random, rows * cols, 3.0);
    const std::vector<float> weight = RandomFloats(random, n);
    const WeightPtr packed = PackFloats(backend(), {n}, weight, WeightRole::kVector);
    Activations x(backend(), {rows, cols}, in);
    Activations y(backend(), {rows, cols}, kNan);
    ASSERT_TRUE(backend()
                    .Norm({.in = x.view(), .weight = packed.get(), .eps = 1e-5f, .out = y.view()})
                    .ok());
    const std::vector<float> out = y.Read();
    ASSERT_TRUE(backend()
                    .Norm({.in = x.view(), .weight = packed.get(), .eps = 1e-5f, .out = x.view()})
                    .ok());
    const std::vector<float> in_place = x.Read();
    for (int64_t row = 0; row < rows; ++row) {
      const std::vector<double> want =
          reference::RmsNorm(in.data() + row * cols, weight.data(), 1e-5f, n);
      for (int64_t c = 0; c < cols; ++c) {
        const int64_t i = row * cols + c;
        if (c >= n) {
          EXPECT_TRUE(std::isnan(out[i]));
          EXPECT_EQ(in_place[i], in[i]);
          continue;
        }
        EXPECT_NEAR(out[i], want[c], (n / 2.0 + 6) * 0x1p-24 * std::abs(want[c]) + 1e-30);
        EXPECT_EQ(in_place[i], out[i]);
      }
    }
  }
}

// The norm behind a block: its result joins the residual stream.
TEST_P(RowsTest, NormAddsToWhatIsThere) {
  Random random(5);
  for (const int64_t n : {1, 7, 44, 65}) {
    const int64_t rows = 3;
    const std::vector<float> in = RandomFloats(random, rows * n, 3.0);
    const std::vector<float> weight = RandomFloats(random, n);
    const std::vector<float> residual = RandomFloats(random, rows * n);
    const WeightPtr packed = PackFloats(backend(), {n}, weight, WeightRole::kVector);
    Activations x(backend(), {rows, n}, in);
    Activations y(backend(), {rows, n}, residual);
    const NormArgs args{
        .in = x.view(), .weight = packed.get(), .eps = 1e-5f, .accumulate = true, .out = y.view()};
    ASSERT_TRUE(backend().Norm(args).ok());
    const std::vector<float> out = y.Read();
    for (int64_t row = 0; row < rows; ++row) {
      const std::vector<double> want =
          reference::RmsNorm(in.data() + row * n, weight.data(), 1e-5f, n);
      for (int64_t c = 0; c < n; ++c) {
        const double sum = residual[row * n + c] + want[c];
        EXPECT_NEAR(out[row * n + c], sum,
                    0x1p-24 * ((n / 2.0 + 6) * std::abs(want[c]) + std::abs(sum)) + 1e-30);
      }
    }
    NormArgs onto_itself = args;
    onto_itself.out = x.view();
    EXPECT_TRUE(absl::IsInvalidArgument(backend().Norm(onto_itself)));
  }
}

// Norms of queries and keys: the rows of [tokens, heads, head_dim] are heads.
TEST_P(RowsTest, NormTakesHeadsOneByOne) {
  Random random(6);
  const int64_t tokens = 3;
  const int64_t heads = 5;
  const int64_t dim = 14;
  const std::vector<float> in = RandomFloats(random, tokens * heads * dim);
  const std::vector<float> weight = RandomFloats(random, dim);
  const WeightPtr packed = PackFloats(backend(), {dim}, weight, WeightRole::kVector);
  Activations x(backend(), {tokens, heads, dim}, in);
  ASSERT_TRUE(backend().Norm({.in = x.view(), .weight = packed.get(), .out = x.view()}).ok());
  const std::vector<float> out = x.Read();
  for (int64_t row = 0; row < tokens * heads; ++row) {
    const std::vector<double> want =
        reference::RmsNorm(in.data() + row * dim, weight.data(), 1e-6f, dim);
    for (int64_t c = 0; c < dim; ++c) {
      EXPECT_NEAR(out[row * dim + c], want[c], (dim / 2.0 + 6) * 0x1p-24 * std::abs(want[c]));
    }
  }
}

TEST_P(RowsTest, ActivationsAgreeWithReferenceOverAllMagnitudes) {
  std::vector<float> gate;
  for (float x = -200.0f; x <= 200.0f; x += 0.037f) gate.push_back(x);
  for (const float x : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, 88.8f, -88.8f, 87.0f, -87.0f}) {
    gate.push_back(x);
  }
  const int64_t n = static_cast<int64_t>(gate.size());
  Random random(2);
  const std::vector<float> up = RandomFloats(random, n);
  for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
    Activations g(backend(), {1, n}, gate);
    Activations u(backend(), {1, n}, up);
    Activations y(backend(), {1, n}, kNan);
    ASSERT_TRUE(
        backend()
            .GatedActivation(
                {.gate = g.view(), .up = u.view(), .activation = activation, .out = y.view()})
            .ok());
    const std::vector<float> out = y.Read();
    for (int64_t i = 0; i < n; ++i) {
      const double want = (activation == Activation::kSilu ? reference::Silu(gate[i])
                                                           : reference::GeluTanh(gate[i])) *
                          up[i];
      // A float argument of exp is off by some units of 2^-24 of itself, which exp makes a
      // relative error; exp, sum, quotient and products add a few. Below 2^-125 all becomes 0.
      const double argument =
          activation == Activation::kSilu ? gate[i] : 2 * reference::GeluInner(gate[i]);
      const double relative = (8 + 6 * std::abs(argument)) * 0x1p-24;
      EXPECT_NEAR(out[i], want, relative * std::abs(want) + 1e-34) << gate[i];
    }
  }
}

TEST_P(RowsTest, EmbeddingDecodesAndScalesRows) {
  const int64_t vocab = 10;
  const int64_t hidden = 64;
  ASSERT_TRUE(backend().Prepare(kLimits).ok());
  Random random(3);
  auto bytes =
      std::make_shared<std::vector<uint8_t>>(RandomRows(random, DType::kQ4_1, vocab * hidden));
  auto table = backend().Pack({.view = {bytes->data(), DType::kQ4_1, {vocab, hidden}},
                               .owner = bytes,
                               .role = WeightRole::kEmbedding});
  ASSERT_TRUE(table.ok());
  std::vector<float> values(vocab * hidden);
  DequantizeRow(DType::kQ4_1, bytes->data(), absl::MakeSpan(values));
  RaggedBatch batch = MakeBatch({{0, 3, {0}}});
  batch.token_ids = {9, 0, 4};
  ASSERT_TRUE(backend().Begin(batch).ok());
  Activations out(backend(), {3, hidden}, kNan);
  ASSERT_TRUE(backend().Embedding({.table = table->get(), .scale = 2.5f, .out = out.view()}).ok());
  const std::vector<float> rows = out.Read();
  for (int t = 0; t < 3; ++t) {
    for (int64_t c = 0; c < hidden; ++c) {
      EXPECT_EQ(rows[t * hidden + c], values[batch.token_ids[t] * hidden + c] * 2.5f);
    }
  }
  for (const int32_t id : {10, -1, std::numeric_limits<int32_t>::max()}) {
    batch.token_ids[1] = id;
    ASSERT_TRUE(backend().Begin(batch).ok());
    const absl::Status status = backend().Embedding({.table = table->get(), .out = out.view()});
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("vocabulary of 10"));
  }
}

TEST_P(RowsTest, FinishGivesLogitsOfTheTokensAskedFor) {
  const int64_t vocab = 71;
  const int64_t hidden = 48;
  Random random(4);
  const std::vector<float> weight = RandomFloats(random, hidden);
  const std::vector<float> output = RandomFloats(random, vocab * hidden);
  const WeightPtr norm = PackFloats(backend(), {hidden}, weight, WeightRole::kVector);
  const WeightPtr projection =
      PackFloats(backend(), {vocab, hidden}, output, WeightRole::kEmbedding);
  ASSERT_TRUE(backend().Prepare(kLimits).ok());
  const std::vector<float> x = RandomFloats(random, 6 * hidden);
  RaggedBatch batch = MakeBatch({{0, 4, {0}}, {9, 2, {1}}});
  batch.logit_tokens = {1, 3, 5};
  ASSERT_TRUE(backend().Begin(batch).ok());
  Activations in(backend(), {6, hidden}, x);
  const LogitsArgs args{.hidden = in.view(),
                        .norm_weight = norm.get(),
                        .norm_eps = 1e-6f,
                        .output = projection.get()};
  auto logits = backend().Finish(args);
  ASSERT_TRUE(logits.ok());
  ASSERT_EQ(logits->size(), 3u * vocab);
  for (int i = 0; i < 3; ++i) {
    const std::vector<double> normed =
        reference::RmsNorm(x.data() + batch.logit_tokens[i] * hidden, weight.data(), 1e-6f, hidden);
    const std::vector<float> rounded(normed.begin(), normed.end());
    for (int64_t v = 0; v < vocab; ++v) {
      const reference::Dot dot =
          reference::DotProduct(output.data() + v * hidden, rounded.data(), hidden);
      EXPECT_NEAR((*logits)[i * vocab + v], dot.sum, 2 * reference::DotTolerance(dot, hidden));
    }
  }
  const std::vector<float> plain(logits->begin(), logits->end());
  LogitsArgs capped = args;
  capped.soft_cap = 6.0f;  // of logits with a deviation of 7
  logits = backend().Finish(capped);
  ASSERT_TRUE(logits.ok());
  for (size_t i = 0; i < plain.size(); ++i) {
    const double want = 6.0 * std::tanh(plain[i] / 6.0);
    EXPECT_NEAR((*logits)[i], want, 16 * 0x1p-24 * std::abs(want)) << plain[i];
  }
  for (const float cap : {-1.0f, kNan, std::numeric_limits<float>::infinity()}) {
    capped.soft_cap = cap;
    EXPECT_TRUE(absl::IsInvalidArgument(backend().Finish(capped).status())) << cap;
  }
  batch.logit_tokens.clear();
  ASSERT_TRUE(backend().Begin(batch).ok());
  logits = backend().Finish(args);
  ASSERT_TRUE(logits.ok());
  EXPECT_TRUE(logits->empty());
}

INSTANTIATE_BACKENDS(RowsTest);

}  // namespace
}  // namespace transmla
