// Training of the converted attention: every gradient against differences of the loss, the forward
// pass against the definition and the engine's own.
#include "engine/convert/recover/recovery.h"

#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "gtest/gtest.h"

#include "engine/backend/cpu/create.h"
#include "engine/base/random.h"
#include "engine/convert/equivalent.h"
#include "engine/convert/loaded_model.h"
#include "engine/convert/plan.h"
#include "engine/convert/recover/eigenbasis.h"
#include "engine/convert/recover/objective.h"
#include "engine/convert/recover/optimizer.h"
#include "engine/convert/recover/row_math.h"
#include "tests/engine/convert/attention_reference.h"
#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using testing::TinyModel;

FloatMatrix RandomFloats(int64_t rows, int64_t cols, Random& random, double scale = 1) {
  FloatMatrix m(rows, cols);
  for (float& value : m.values()) value = static_cast<float>(scale * random.Normal());
  return m;
}

double Dot(const FloatMatrix& a, const FloatMatrix& b) {
  double sum = 0;
  for (size_t i = 0; i < a.values().size(); ++i) sum += double{a.values()[i]} * b.values()[i];
  return sum;
}

// Checks that `gradient` is what `loss` does when `at` moves: along random directions, by
// differences in the middle of two widths, combined so that the errors of third order in the step
// are gone (Richardson). That allows steps of `reach` · step_size, over which the rounding of a
// loss in float32 weighs little, whatever the order in which the machine's BLAS sums.
template <typename Loss>
void ExpectGradient(FloatMatrix& at, const FloatMatrix& gradient, Random& random, Loss loss,
                    const std::string& name, double step_size = 2e-3, double reach = 4) {
  ASSERT_EQ(at.values().size(), gradient.values().size()) << name;
  const FloatMatrix start = at;
  for (int trial = 0; trial < 3; ++trial) {
    const FloatMatrix direction = RandomFloats(at.rows(), at.cols(), random);
    const auto moved = [&](double step) {
      for (size_t i = 0; i < at.values().size(); ++i)
        at.values()[i] = static_cast<float>(start.values()[i] + step * direction.values()[i]);
      const double value = loss();
      at = start;
      return value;
    };
    const auto difference_over = [&](double step) {
      return (moved(step) - moved(-step)) / (2 * step);
    };
    const double width = reach * step_size;
    const double difference = (4 * difference_over(width) - difference_over(2 * width)) / 3;
    const double slope = Dot(gradient, direction);
    // The loss is computed in float32: what its rounding may make of the difference, and 1 %.
    const double noise = 1e-6 * (1 + std::abs(moved(0))) / step_size;
    EXPECT_NEAR(slope, difference, 0.01 * std::abs(difference) + noise) << name;
  }
}

constexpr int kHidden = 13;

AttentionShape UnevenShape() {
  AttentionShape shape;
  shape.mla = {.num_attention_heads = 3,
               .kv_lora_rank = 7,
               .qk_nope_head_dim = 5,
               .qk_rope_head_dim = 6,
               .v_head_dim = 4};
  shape.scale = 0.4f;
  shape.rope_magnitude = 1.1f;
  shape.length = 9;
  shape.inv_freq = {1.0f, 0.3f, 0.02f};
  return shape;
}

// Width of [normed keys; values].
constexpr int kNormedKeysValues = 8;

AttentionParameters RandomParameters(const AttentionShape& shape, Random& random) {
  const MlaSpec& mla = shape.mla;
  const int low = mla.q_lora_rank;
  const int64_t q = mla.num_attention_heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
  const int64_t kv = mla.kv_lora_rank + mla.qk_rope_head_dim;
  const bool behind_norms = shape.normed_head_dim > 0;
  AttentionParameters parameters;
  const int q_in = behind_norms ? shape.normed_head_dim : low > 0 ? low : kHidden;
  parameters.q = RandomFloats(q, q_in, random, 0.3);
  parameters.kv_a = RandomFloats(kv, behind_norms ? kNormedKeysValues : kHidden, random, 0.3);
  parameters.kv_b = RandomFloats(mla.num_attention_heads * (mla.qk_nope_head_dim + mla.v_head_dim),
                                 mla.kv_lora_rank, random, 0.5);
  parameters.o = RandomFloats(kHidden, mla.num_attention_heads * mla.v_head_dim, random, 0.3);
  parameters.q_bias = RandomFloats(1, q, random, 0.3);
  parameters.kv_a_bias = RandomFloats(1, kv, random, 0.3);
  parameters.o_bias = RandomFloats(1, kHidden, random, 0.3);
  if (low > 0) {
    parameters.q_a = RandomFloats(low, kHidden, random, 0.3);
    parameters.q_a_bias = RandomFloats(1, low, random, 0.3);
  }
  return parameters;
}

TEST(LatentAttentionTest, ForwardIsTheDefinition) {
  Random random(1);
  AttentionShape shape = UnevenShape();
  shape.length = 141;        // queries are taken in blocks of 128
  shape.rope_magnitude = 1;  // the definition's
  const AttentionParameters parameters = RandomParameters(shape, random);
  const FloatMatrix in = RandomFloats(shape.length, kHidden, random);
  AttentionTape tape;
  AttentionForward(shape, parameters, in, &tape);

  const auto doubles = [](const FloatMatrix& m) {
    Matrix result(m.rows(), m.cols());
    std::copy(m.values().begin(), m.values().end(), result.values().begin());
    return result;
  };
  LatentWeights weights;
  weights.q = doubles(parameters.q);
  weights.kv_a = doubles(parameters.kv_a);
  weights.kv_b = doubles(parameters.kv_b);
  weights.q_bias.assign(parameters.q_bias.values().begin(), parameters.q_bias.values().end());
  weights.kv_a_bias.assign(parameters.kv_a_bias.values().begin(),
                           parameters.kv_a_bias.values().end());
  weights.inv_freq = shape.inv_freq;
  const Matrix wanted =
      testing::LatentAttention(weights, shape.mla, doubles(in), double{shape.scale});
  for (int64_t i = 0; i < wanted.rows(); ++i)
    for (int64_t j = 0; j < wanted.cols(); ++j)
      EXPECT_NEAR(tape.attended.row(i)[j], wanted(i, j), 1e-5) << i << " " << j;
}

void CheckBackward(const AttentionShape& shape) {
  Random random(2);
  AttentionParameters parameters = RandomParameters(shape, random);
  const int64_t width =
      shape.normed_head_dim > 0
          ? shape.mla.num_attention_heads * shape.normed_head_dim + kNormedKeysValues
          : kHidden;
  FloatMatrix in = RandomFloats(2 * shape.length, width, random);  // two sequences
  const FloatMatrix wanted = RandomFloats(in.rows(), kHidden, random);
  const auto loss = [&] {
    AttentionTape tape;
    return Dot(AttentionForward(shape, parameters, in, &tape), wanted);
  };
  AttentionTape tape;
  AttentionForward(shape, parameters, in, &tape);
  AttentionParameters gradient = ZerosLike(parameters);
  const FloatMatrix in_gradient = AttentionBackward(shape, parameters, in, tape, wanted, &gradient);

  ExpectGradient(in, in_gradient, random, loss, "in");
  const std::vector<FloatMatrix*> tensors = parameters.All(), slopes = gradient.All();
  const char* const names[] = {"q",         "kv_a",   "kv_b", "o",       "q_bias",
                               "kv_a_bias", "o_bias", "q_a",  "q_a_bias"};
  for (size_t i = 0; i < tensors.size(); ++i)
    ExpectGradient(*tensors[i], *slopes[i], random, loss, names[i]);
}

TEST(LatentAttentionTest, BackwardIsTheSlopeOfForward) {
  AttentionShape shape = UnevenShape();
  for (const int length : {9, 141}) {  // queries are taken in blocks of 128
    SCOPED_TRACE(length);
    shape.length = length;
    CheckBackward(shape);
  }
}

TEST(LatentAttentionTest, BackwardIsTheSlopeOfForwardWithACap) {
  AttentionShape shape = UnevenShape();
  shape.soft_cap = 0.8f;
  CheckBackward(shape);
}

TEST(LatentAttentionTest, BackwardIsTheSlopeOfForwardInAWindow) {
  AttentionShape shape = UnevenShape();
  shape.soft_cap = 0.8f;
  shape.window = 4;
  CheckBackward(shape);
  shape.window = 130;
  shape.length = 141;
  CheckBackward(shape);
}

TEST(LatentAttentionTest, BackwardIsTheSlopeOfForwardBehindNorms) {
  AttentionShape shape = UnevenShape();
  shape.normed_head_dim = 5;
  CheckBackward(shape);
}

TEST(LatentAttentionTest, BackwardIsTheSlopeOfForwardOfQueriesOfLowRank) {
  AttentionShape shape = UnevenShape();
  shape.mla.q_lora_rank = 10;
  CheckBackward(shape);
}

// Of a sequence that is as long as the window nothing is left out, of a longer one what comes
// first.
TEST(LatentAttentionTest, AWindowHidesWhatIsBeforeIt) {
  Random random(11);
  AttentionShape shape = UnevenShape();
  const AttentionParameters parameters = RandomParameters(shape, random);
  const FloatMatrix in = RandomFloats(shape.length, kHidden, random);
  FloatMatrix other = in;
  for (int j = 0; j < kHidden; ++j) other.row(0)[j] += 1;
  AttentionTape tape;
  const FloatMatrix all = AttentionForward(shape, parameters, in, &tape);
  shape.window = 3;
  const FloatMatrix seen = AttentionForward(shape, parameters, in, &tape);
  const FloatMatrix moved = AttentionForward(shape, parameters, other, &tape);
  for (int t = 0; t < shape.length; ++t) {
    const auto row = [t](const FloatMatrix& m) { return absl::MakeConstSpan(m.row(t), kHidden); };
    EXPECT_EQ(row(all) == row(seen), t < 3) << t;
    EXPECT_EQ(row(moved) == row(seen), t >= 3) << t;
  }
}

TEST(RmsNormTest, BackwardIsTheSlopeOfForward) {
  Random random(3);
  FloatMatrix in = RandomFloats(5, 11, random);
  const FloatMatrix wanted = RandomFloats(5, 11, random);
  const std::vector<float> weight = RandomFloats(1, 11, random).values();
  const FloatMatrix gradient = RmsNormBackward(in, weight, 0.1f, wanted);
  ExpectGradient(
      in, gradient, random, [&] { return Dot(RmsNorm(in, weight, 0.1f), wanted); }, "in");
}

// The tiny model `name`, its conversion that loses nothing, and text.
struct Fixture {
  explicit Fixture(const char* name) {
    auto opened = OpenCheckpoint(TinyModel(name));
    CHECK_OK(opened.status());
    checkpoint = *opened;
    auto spec = ReadModelSpec(*checkpoint);
    CHECK_OK(spec.status());
    auto created = SourceWeights::Create(checkpoint, *spec);
    CHECK_OK(created.status());
    weights = std::make_unique<SourceWeights>(*std::move(created));
    Random random(4);
    for (int i = 0; i < 6; ++i) {
      text.emplace_back();
      for (int j = 0; j < 21; ++j)
        text.back().push_back(static_cast<int32_t>(random.Below(spec->vocab_size)));
    }
  }

  std::unique_ptr<Recovery> Start() const {
    const ModelSpec& spec = weights->spec();
    const ConvertOptions options{.recipe = Recipe::kEquivalent};
    auto recovery = Recovery::Create(*weights, ResolveShape(options, spec),
                                     ResolveAttentionScale(options, spec));
    CHECK_OK(recovery.status());
    for (int layer = 0; layer < spec.num_layers; ++layer) {
      const auto attention = weights->Attention(layer);
      auto output = weights->Output(layer);
      CHECK_OK(attention.status());
      CHECK_OK(output.status());
      LatentWeights latent = BuildEquivalentLayer(*attention, spec.gqa, spec.inv_freq[layer]);
      if (low_rank_queries) latent.q_a = Matrix::Identity(spec.hidden_size);
      // Not all rows alike, which a norm behind the block would make good.
      for (int64_t i = 0; i < latent.kv_b.rows(); i += 2)
        for (double& value : latent.kv_b.row(i)) value *= damage;
      latent.o = *std::move(output);
      (*recovery)->SetLayer(layer, latent);
    }
    return *std::move(recovery);
  }

  absl::StatusOr<RecoveryLoss> Train(Recovery& recovery, double rate, TokenSequences sequences,
                                     int threads = 1) const {
    ConversionContext context;
    context.make_backend = [threads] { return CreateCpuBackend({.threads = threads}); };
    auto source =
        LoadModel(context, checkpoint, CalibrationLimits(static_cast<int>(sequences[0].size())));
    CHECK_OK(source.status());
    return recovery.Train(
        *source->decoder, *source->backend, sequences,
        {.learning_rate = rate, .eigenbases = eigenbases, .work = work}, [this](int done, int) {
          return done < cancelled_after ? absl::OkStatus() : absl::CancelledError("cancelled");
        });
  }

  std::shared_ptr<const CheckpointReader> checkpoint;
  std::unique_ptr<SourceWeights> weights;
  std::vector<std::vector<int32_t>> text;
  double damage = 1;
  bool eigenbases = false;
  bool low_rank_queries = false;  // of full rank, in truth
  WorkFolder* work = nullptr;
  int cancelled_after = std::numeric_limits<int>::max();  // sequences
};

TEST(FrozenModelTest, GradientsAreSlopes) {
  const Fixture fixture("llama_tied");
  auto model = FrozenModel::Create(*fixture.weights, int64_t{1} << 30);
  ASSERT_TRUE(model.ok()) << model.status();
  Random random(5);
  const int hidden = model->spec().hidden_size;
  FloatMatrix in = RandomFloats(3, hidden, random);
  const FloatMatrix wanted = RandomFloats(3, hidden, random);
  const auto feed_forward = [&] {
    FeedForwardTape tape;
    return Dot(*FeedForwardForward(*model, 1, in, &tape), wanted);
  };
  FeedForwardTape tape;
  ASSERT_TRUE(FeedForwardForward(*model, 1, in, &tape).ok());
  const auto gradient = FeedForwardBackward(*model, 1, tape, wanted);
  ASSERT_TRUE(gradient.ok()) << gradient.status();
  ExpectGradient(in, *gradient, random, feed_forward, "feed-forward");

  const FloatMatrix source = RandomFloats(3, hidden, random);
  const auto loss = DistillationLoss(*model, source, in);
  ASSERT_TRUE(loss.ok()) << loss.status();
  ExpectGradient(
      in, loss->gradient, random, [&] { return DistillationLoss(*model, source, in)->kl; }, "KL");
  EXPECT_GT(loss->kl, 0);
  EXPECT_NEAR(DistillationLoss(*model, in, in)->kl, 0, 1e-6);
}

// Of a layer's own parts and of what recovery trains in it.
class LayerTest : public ::testing::TestWithParam<const char*> {};

TEST_P(LayerTest, GradientsAreSlopes) {
  const Fixture fixture(GetParam());
  auto model = FrozenModel::Create(*fixture.weights, int64_t{1} << 30);
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelSpec& spec = model->spec();
  Random random(12);
  AttentionShape shape = UnevenShape();
  shape.soft_cap = spec.attention_soft_cap;
  shape.length = 8;
  if (spec.qk_norm) shape.normed_head_dim = spec.gqa.head_dim;
  shape.mla.num_attention_heads = spec.gqa.num_attention_heads;
  AttentionParameters parameters;
  const int64_t heads = shape.mla.num_attention_heads, hidden = spec.hidden_size;
  const int64_t keys_values = 2 * spec.gqa.num_key_value_heads * spec.gqa.head_dim;
  parameters.q = RandomFloats(heads * 11, spec.qk_norm ? spec.gqa.head_dim : hidden, random, 0.08);
  parameters.kv_a = RandomFloats(13, spec.qk_norm ? keys_values : hidden, random, 0.08);
  parameters.kv_b = RandomFloats(heads * 9, 7, random, 0.3);
  parameters.o = RandomFloats(hidden, heads * 4, random, 0.3);
  FloatMatrix in = RandomFloats(8, hidden, random);
  const FloatMatrix wanted = RandomFloats(8, hidden, random);
  // What norms make of a small block's output is far from straight.
  const double step = spec.post_norms ? 5e-4 : 2e-3;
  // Farther away tokens go to other experts, in jumps.
  const double reach = spec.moe.num_experts > 0 ? 1 : 4;
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    SCOPED_TRACE(layer);
    shape.window = spec.WindowOf(layer);
    const TrainedLayer trained{&*model, layer, shape, &parameters};
    const auto loss = [&] {
      LayerTape tape;
      FloatMatrix stream = in;
      EXPECT_TRUE(LayerForward(trained, &stream, &tape).ok());
      return Dot(stream, wanted);
    };
    LayerTape tape;
    FloatMatrix stream = in, gradient = wanted;
    ASSERT_TRUE(LayerForward(trained, &stream, &tape).ok());
    AttentionParameters own = ZerosLike(parameters);
    ASSERT_TRUE(LayerBackward(trained, tape, &gradient, &own).ok());
    ExpectGradient(in, gradient, random, loss, "in", step, reach);
    ExpectGradient(parameters.q, own.q, random, loss, "q", step, reach);
    ExpectGradient(parameters.kv_a, own.kv_a, random, loss, "kv_a", step, reach);
    ExpectGradient(parameters.kv_b, own.kv_b, random, loss, "kv_b", step, reach);
    ExpectGradient(parameters.o, own.o, random, loss, "o", step, reach);
  }
}

INSTANTIATE_TEST_SUITE_P(Families, LayerTest,
                         ::testing::Values("llama_tied", "qwen2", "mistral", "phi3", "qwen3",
                                           "qwen3_biased", "gemma2", "gemma3", "mixtral",
                                           "qwen3_moe", "qwen3_moe_stepped"));

TEST(FrozenModelTest, TheLossOfCappedLogitsHasItsSlope) {
  const Fixture fixture("gemma2");
  auto model = FrozenModel::Create(*fixture.weights, int64_t{1} << 30);
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_GT(model->spec().final_soft_cap, 0);
  Random random(13);
  FloatMatrix in = RandomFloats(3, model->spec().hidden_size, random);
  const FloatMatrix source = RandomFloats(3, model->spec().hidden_size, random);
  const auto loss = DistillationLoss(*model, source, in);
  ASSERT_TRUE(loss.ok()) << loss.status();
  ExpectGradient(
      in, loss->gradient, random, [&] { return DistillationLoss(*model, source, in)->kl; }, "KL");
}

TEST(FrozenModelTest, WhatIsKeptChangesNothing) {
  const Fixture fixture("llama_untied_scaled_sharded");
  // Nothing, some, all.
  std::vector<std::vector<float>> outputs;
  for (const int64_t kept_bytes : {int64_t{0}, int64_t{100'000}, int64_t{1} << 30}) {
    auto model = FrozenModel::Create(*fixture.weights, kept_bytes);
    ASSERT_TRUE(model.ok()) << model.status();
    Random same(10);
    const FloatMatrix in = RandomFloats(3, model->spec().hidden_size, same);
    const FloatMatrix source = RandomFloats(3, model->spec().hidden_size, same);
    FeedForwardTape tape;
    auto fed = FeedForwardForward(*model, 1, in, &tape);
    ASSERT_TRUE(fed.ok()) << fed.status();
    auto back = FeedForwardBackward(*model, 1, tape, source);
    ASSERT_TRUE(back.ok()) << back.status();
    auto loss = DistillationLoss(*model, source, in);
    ASSERT_TRUE(loss.ok()) << loss.status();
    std::vector<float> all = fed->values();
    all.insert(all.end(), back->values().begin(), back->values().end());
    all.insert(all.end(), loss->gradient.values().begin(), loss->gradient.values().end());
    outputs.push_back(all);
  }
  EXPECT_EQ(outputs[0], outputs[1]);
  EXPECT_EQ(outputs[0], outputs[2]);
}

// Of every feature that recovery trains through: tied and untied output, scaled RoPE, biases,
// windows, norms of queries and keys and behind blocks, soft caps, gelu, scaled embeddings,
// experts.
TEST(RecoveryTest, AnExactConversionHasNothingToLearn) {
  for (const char* name : {"llama_tied", "llama_untied_scaled_sharded", "qwen2", "mimo",
                           "phi3_longrope", "mistral", "phi3", "qwen3", "qwen3_biased",
                           "qwen3_gguf/model.gguf", "gemma2", "gemma2_gguf/model.gguf", "gemma3",
                           "gemma3_gguf/model.gguf", "mixtral", "mixtral_q8_0_gguf/model.gguf",
                           "qwen3_moe", "qwen3_moe_stepped", "qwen3_moe_gguf/model.gguf"}) {
    SCOPED_TRACE(name);
    const Fixture fixture(name);
    const std::unique_ptr<Recovery> recovery = fixture.Start();
    const auto loss = fixture.Train(*recovery, 1e-9, fixture.text);
    ASSERT_TRUE(loss.ok()) << loss.status();
    // Rounding of float32 in two orders of sums.
    EXPECT_LT(loss->first, 1e-6);
    EXPECT_EQ(loss->tokens, 6 * 21);
  }
}

// In two matrices, of which the first is the identity at the beginning.
TEST(RecoveryTest, TrainsQueriesOfLowRank) {
  Fixture fixture("qwen2");
  fixture.low_rank_queries = true;
  const auto exact = fixture.Train(*fixture.Start(), 1e-9, fixture.text);
  ASSERT_TRUE(exact.ok()) << exact.status();
  EXPECT_LT(exact->first, 1e-6);
  fixture.damage = 0.6;
  const std::unique_ptr<Recovery> recovery = fixture.Start();
  ASSERT_TRUE(fixture.Train(*recovery, 1e-2, fixture.text).ok());
  const LatentWeights before = fixture.Start()->Layer(0), after = recovery->Layer(0);
  EXPECT_EQ(after.q_a.rows(), before.q_a.rows());
  EXPECT_NE(after.q_a.values(), before.q_a.values());
  EXPECT_NE(after.q.values(), before.q.values());
}

void CheckTakesBackDamage(const char* name, bool eigenbases) {
  SCOPED_TRACE(name);
  Fixture fixture(name);
  fixture.eigenbases = eigenbases;
  fixture.damage = 0.6;
  const std::unique_ptr<Recovery> recovery = fixture.Start();
  std::vector<std::vector<int32_t>> text;
  for (int i = 0; i < 40; ++i) text.insert(text.end(), fixture.text.begin(), fixture.text.end());
  const auto loss = fixture.Train(*recovery, 1e-2, text);
  ASSERT_TRUE(loss.ok()) << loss.status();
  EXPECT_GT(loss->first, 0);
  EXPECT_LT(loss->last, 0.3 * loss->first);
  EXPECT_FALSE(recovery->Layer(0).o.empty());
}

TEST(RecoveryTest, TakesBackDamage) {
  for (const char* name : {"qwen2", "mistral", "qwen3", "gemma2", "gemma3", "mixtral", "qwen3_moe"})
    CheckTakesBackDamage(name, /*eigenbases=*/false);
}
TEST(RecoveryTest, TakesBackDamageInEigenbases) {
  for (const char* name : {"qwen2", "qwen3"}) CheckTakesBackDamage(name, /*eigenbases=*/true);
}

TEST(RecoveryTest, ThreadsDoNotChangeTheResult) {
  Fixture fixture("qwen2");
  fixture.eigenbases = true;
  fixture.damage = 0.6;
  std::vector<LatentWeights> results;
  for (const int threads : {1, 3}) {
    const std::unique_ptr<Recovery> recovery = fixture.Start();
    ASSERT_TRUE(fixture.Train(*recovery, 1e-2, fixture.text, threads).ok());
    results.push_back(recovery->Layer(1));
  }
  EXPECT_EQ(results[0].q.values(), results[1].q.values());
  EXPECT_EQ(results[0].kv_b.values(), results[1].kv_b.values());
  EXPECT_EQ(results[0].o.values(), results[1].o.values());
  const std::unique_ptr<Recovery> untrained = fixture.Start();
  EXPECT_NE(results[0].kv_b.values(), untrained->Layer(1).kv_b.values());
}

// With the eigenbases, which no option of a conversion sets.
TEST(RecoveryTest, GoesOnFromARecord) {
  Fixture fixture("qwen2");
  fixture.eigenbases = true;
  fixture.damage = 0.6;
  // Each a step of its own; the bases are taken anew at the 1st, 3rd and 7th.
  constexpr size_t kSteps = 8, kParts = 13;
  std::vector<std::vector<int32_t>> text(kSteps);
  for (size_t i = 0; i < kSteps * kParts; ++i) {
    const std::vector<int32_t>& part = fixture.text[i % 6];
    text[i / kParts].insert(text[i / kParts].end(), part.begin(), part.end());
  }
  const std::unique_ptr<Recovery> whole = fixture.Start();
  const auto expected = fixture.Train(*whole, 1e-2, text);
  ASSERT_TRUE(expected.ok()) << expected.status();

  const testing::TempFolder folder;
  const auto work = WorkFolder::Open(*PosixFileSystem(), folder.File("model"), "job");
  ASSERT_TRUE(work.ok()) << work.status();
  fixture.work = work->get();
  fixture.cancelled_after = 5;
  EXPECT_EQ(fixture.Train(*fixture.Start(), 1e-2, text).status().code(),
            absl::StatusCode::kCancelled);
  fixture.cancelled_after = std::numeric_limits<int>::max();
  const std::unique_ptr<Recovery> resumed = fixture.Start();
  const auto loss = fixture.Train(*resumed, 1e-2, text);
  ASSERT_TRUE(loss.ok()) << loss.status();
  EXPECT_EQ(loss->resumed_tokens, 4 * 13 * 21);
  EXPECT_EQ(loss->first, expected->first);
  EXPECT_EQ(loss->last, expected->last);
  for (int layer = 0; layer < 2; ++layer) {
    EXPECT_EQ(resumed->Layer(layer).q.values(), whole->Layer(layer).q.values());
    EXPECT_EQ(resumed->Layer(layer).kv_a_bias, whole->Layer(layer).kv_a_bias);
    EXPECT_EQ(resumed->Layer(layer).o.values(), whole->Layer(layer).o.values());
  }
}

// Of a bowl whose axes are turned against the matrix's and of unlike scales.
struct Bowl {
  explicit Bowl(Random& random)
      : bottom(RandomFloats(6, 5, random)),
        left(RandomFloats(6, 6, random)),
        right(RandomFloats(5, 5, random)) {
    for (int64_t i = 0; i < 5; ++i)
      for (float& value : absl::MakeSpan(right.row(i), 5))
        value *= std::pow(0.4f, static_cast<float>(i));
  }
  // Of |left · (x − bottom) · right|² / 2.
  FloatMatrix Gradient(const FloatMatrix& x) const {
    FloatMatrix apart = x, product(6, 5);
    for (size_t i = 0; i < apart.values().size(); ++i) apart.values()[i] -= bottom.values()[i];
    MultiplyFloats(left, Transpose::kNo, apart, Transpose::kNo, false, product.view());
    MultiplyFloats(product, Transpose::kNo, right, Transpose::kYes, false, apart.view());
    MultiplyFloats(apart, Transpose::kNo, right, Transpose::kNo, false, product.view());
    MultiplyFloats(left, Transpose::kYes, product, Transpose::kNo, false, apart.view());
    return apart;
  }
  double Height(const FloatMatrix& x) const {
    FloatMatrix apart = x;
    for (size_t i = 0; i < apart.values().size(); ++i) apart.values()[i] -= bottom.values()[i];
    return Dot(Gradient(x), apart) / 2;
  }
  FloatMatrix bottom, left, right;
};

double HeightAfter(const Bowl& bowl, const FloatMatrix& start, std::vector<int64_t> row_blocks,
                   std::vector<int64_t> col_blocks, int threads, FloatMatrix* end = nullptr) {
  FloatMatrix x = start;
  constexpr int kSteps = 300;
  Optimizer optimizer({.steps = kSteps, .learning_rate = 0.1},
                      {{.values = &x, .row_blocks = row_blocks, .col_blocks = col_blocks}});
  ThreadPool pool(threads);
  for (int step = 0; step < kSteps; ++step) {
    const FloatMatrix gradient = bowl.Gradient(x);
    CHECK_OK(optimizer.Step({&gradient}, pool));
  }
  if (end != nullptr) *end = x;
  return bowl.Height(x);
}

TEST(OptimizerTest, EigenbasesFindTheBottomOfATurnedBowl) {
  Random random(6);
  const Bowl bowl(random);
  const FloatMatrix start = RandomFloats(6, 5, random);
  const double plain = HeightAfter(bowl, start, {}, {}, 1);
  EXPECT_LT(plain, 0.01 * bowl.Height(start));
  EXPECT_LT(HeightAfter(bowl, start, {6}, {5}, 1), 0.1 * plain);
  EXPECT_LT(HeightAfter(bowl, start, {4, 2}, {2, 3}, 1), 0.01 * bowl.Height(start));
}

TEST(OptimizerTest, ThreadsDoNotChangeTheResult) {
  Random random(7);
  const Bowl bowl(random);
  const FloatMatrix start = RandomFloats(6, 5, random);
  FloatMatrix one, three;
  HeightAfter(bowl, start, {4, 2}, {5}, 1, &one);
  HeightAfter(bowl, start, {4, 2}, {5}, 3, &three);
  EXPECT_EQ(one.values(), three.values());
}

TEST(EigenbasisTest, MakesAnObservedMomentDiagonalAndLeavesWhatEntered) {
  Random random(8);
  const FloatMatrix gradient = RandomFloats(7, 9, random);
  for (const MatrixSide side : {MatrixSide::kRows, MatrixSide::kColumns}) {
    const int64_t size = side == MatrixSide::kRows ? 7 : 9;
    Eigenbasis basis(side, {3, size - 3});
    FloatMatrix turned = gradient;
    basis.Enter(turned);
    EXPECT_EQ(turned.values(), gradient.values()) << "before the first refresh";
    basis.Observe(gradient, 0.9f);
    ASSERT_TRUE(basis.Refresh().ok());
    basis.Enter(turned);
    const auto at = [&](int64_t i, int64_t k) {  // k-th element of the side's i-th vector
      return side == MatrixSide::kRows ? turned.row(i)[k] : turned.row(k)[i];
    };
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j < i; ++j) {
        if (i >= 3 && j < 3) continue;  // of two blocks
        double dot = 0;
        for (int64_t k = 0; k < (side == MatrixSide::kRows ? 9 : 7); ++k)
          dot += at(i, k) * at(j, k);
        EXPECT_NEAR(dot, 0, 1e-4) << i << " " << j;
      }
    }
    basis.Leave(turned);
    for (size_t i = 0; i < turned.values().size(); ++i)
      EXPECT_NEAR(turned.values()[i], gradient.values()[i], 1e-5);
  }
}

TEST(EigenbasisTest, CutsBlocksThatAreTooLarge) {
  FloatMatrix gradient(5, 1);
  gradient.row(0)[0] = 1;
  gradient.row(4)[0] = 2;
  Eigenbasis basis(MatrixSide::kRows, {5}, /*largest_block=*/4);
  basis.Observe(gradient, 0.5f);
  ASSERT_TRUE(basis.Refresh().ok());
  basis.Enter(gradient);
  // Each part has turned what is its own to its first vector.
  EXPECT_NEAR(std::abs(gradient.row(0)[0]), 1, 1e-5);
  EXPECT_NEAR(std::abs(gradient.row(2)[0]), 2, 1e-5);
}

TEST(RowMathTest, ExponentialsAreThoseOfTheLibrary) {
  for (double x = -86.9; x < 87.9; x += 0.0137) {
    const auto at = static_cast<float>(x);
    const double wanted = std::exp(double{at});
    EXPECT_NEAR(FastExp(at), wanted, 2.4e-7 * wanted) << at;  // two units of the last place
  }
  EXPECT_LT(FastExp(-1e30f), 1e-37f);
  EXPECT_GT(FastExp(1e30f), 1e38f);
}

TEST(RowMathTest, SumsAndMaximaSeeEveryElement) {
  std::vector<float> row;
  for (int n = 1; n < 1200; n += 37) {
    row.assign(n, 0.5f);
    for (const int at : {0, n / 2, n - 1}) {
      row[at] = 3;
      EXPECT_EQ(RowMax(row.data(), n), 3) << n << " " << at;
      EXPECT_EQ(RowSum(n, [&](int64_t i) { return row[i]; }), 0.5 * (n - 1) + 3) << n << " " << at;
      row[at] = 0.5f;
    }
  }
}

TEST(OptimizerTest, TheScheduleWarmsUpAndEndsNearZero) {
  const OptimizerOptions options{.steps = 100, .learning_rate = 1};
  EXPECT_NEAR(Schedule(options, 0), 0.1, 1e-3);
  EXPECT_NEAR(Schedule(options, 10), 1, 0.03);
  EXPECT_LT(Schedule(options, 99), 0.001);
  EXPECT_GT(Schedule(options, 99), 0);
}

}  // namespace
}  // namespace transmla
