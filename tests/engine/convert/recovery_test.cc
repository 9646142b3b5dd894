// Training of the converted attention: every gradient against differences of the loss, the forward
// pass against the definition and the engine's own.
#include "engine/convert/recover/recovery.h"

#include <cmath>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"
#include "engine/convert/equivalent.h"
#include "engine/convert/loaded_model.h"
#include "engine/convert/plan.h"
#include "engine/convert/recover/objective.h"
#include "engine/convert/recover/optimizer.h"
#include "tests/engine/convert/attention_reference.h"
#include "tests/engine/convert/tiny_conversion.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;
using testing::TinyContext;
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

// Checks that `gradient` is what `loss` does when `at` moves: along random directions, by a
// difference in the middle, whose error is of third order in the step.
template <typename Loss>
void ExpectGradient(FloatMatrix& at, const FloatMatrix& gradient, Random& random, Loss loss,
                    const std::string& name) {
  ASSERT_EQ(at.values().size(), gradient.values().size()) << name;
  const FloatMatrix start = at;
  for (int trial = 0; trial < 3; ++trial) {
    const FloatMatrix direction = RandomFloats(at.rows(), at.cols(), random);
    constexpr double kStep = 2e-3;
    const auto moved = [&](double step) {
      for (size_t i = 0; i < at.values().size(); ++i)
        at.values()[i] = static_cast<float>(start.values()[i] + step * direction.values()[i]);
      const double value = loss();
      at = start;
      return value;
    };
    const double difference = (moved(kStep) - moved(-kStep)) / (2 * kStep);
    const double slope = Dot(gradient, direction);
    // The loss is computed in float32: what its rounding may make of the difference, and 1 %.
    const double noise = 1e-6 * (1 + std::abs(moved(0))) / kStep;
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

AttentionParameters RandomParameters(const AttentionShape& shape, Random& random) {
  const MlaSpec& mla = shape.mla;
  const int64_t q = mla.num_attention_heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
  const int64_t kv = mla.kv_lora_rank + mla.qk_rope_head_dim;
  AttentionParameters parameters;
  parameters.q = RandomFloats(q, kHidden, random, 0.3);
  parameters.kv_a = RandomFloats(kv, kHidden, random, 0.3);
  parameters.kv_b = RandomFloats(mla.num_attention_heads * (mla.qk_nope_head_dim + mla.v_head_dim),
                                 mla.kv_lora_rank, random, 0.5);
  parameters.o = RandomFloats(kHidden, mla.num_attention_heads * mla.v_head_dim, random, 0.3);
  parameters.q_bias = RandomFloats(1, q, random, 0.3);
  parameters.kv_a_bias = RandomFloats(1, kv, random, 0.3);
  parameters.o_bias = RandomFloats(1, kHidden, random, 0.3);
  return parameters;
}

TEST(LatentAttentionTest, ForwardIsTheDefinition) {
  Random random(1);
  AttentionShape shape = UnevenShape();
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

TEST(LatentAttentionTest, BackwardIsTheSlopeOfForward) {
  Random random(2);
  const AttentionShape shape = UnevenShape();
  AttentionParameters parameters = RandomParameters(shape, random);
  FloatMatrix in = RandomFloats(2 * shape.length, kHidden, random);  // two sequences
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
  const char* const names[] = {"q", "kv_a", "kv_b", "o", "q_bias", "kv_a_bias", "o_bias"};
  for (size_t i = 0; i < tensors.size(); ++i)
    ExpectGradient(*tensors[i], *slopes[i], random, loss, names[i]);
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
      const auto output = weights->Output(layer);
      CHECK_OK(attention.status());
      CHECK_OK(output.status());
      LatentWeights latent = BuildEquivalentLayer(*attention, spec.gqa, spec.inv_freq[layer]);
      for (double& value : latent.kv_b.values()) value *= damage;
      (*recovery)->SetLayer(layer, latent, *output);
    }
    return *std::move(recovery);
  }

  absl::StatusOr<RecoveryLoss> Train(Recovery& recovery, double rate,
                                     TokenSequences sequences) const {
    auto source = LoadModel(TinyContext(), checkpoint, CalibrationLimits(21));
    CHECK_OK(source.status());
    return recovery.Train(*source->decoder, *source->backend, sequences, {.learning_rate = rate},
                          nullptr);
  }

  std::shared_ptr<const CheckpointReader> checkpoint;
  std::unique_ptr<SourceWeights> weights;
  std::vector<std::vector<int32_t>> text;
  double damage = 1;
};

TEST(FrozenModelTest, GradientsAreSlopes) {
  const Fixture fixture("llama_tied");
  auto model = FrozenModel::Create(*fixture.weights);
  ASSERT_TRUE(model.ok()) << model.status();
  Random random(5);
  const int hidden = model->spec().hidden_size;
  FloatMatrix in = RandomFloats(3, hidden, random);
  const FloatMatrix wanted = RandomFloats(3, hidden, random);
  const auto feed_forward = [&] {
    FeedForwardTape tape;
    return Dot(*model->FeedForward(1, in, &tape), wanted);
  };
  FeedForwardTape tape;
  ASSERT_TRUE(model->FeedForward(1, in, &tape).ok());
  const auto gradient = model->FeedForwardBackward(1, tape, wanted);
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

// Of every feature that recovery trains through: tied and untied output, scaled RoPE, biases.
TEST(RecoveryTest, AnExactConversionHasNothingToLearn) {
  for (const char* name :
       {"llama_tied", "llama_untied_scaled_sharded", "qwen2", "mimo", "phi3_longrope"}) {
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

TEST(RecoveryTest, TakesBackDamage) {
  Fixture fixture("qwen2");
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

TEST(RecoveryTest, RefusesWhatItCannotTrainThrough) {
  ModelSpec spec;
  spec.family = "gemma2";
  spec.final_soft_cap = 30;
  const absl::Status status = CheckTrainable(spec);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("soft caps"));
}

TEST(OptimizerTest, FindsTheBottomOfABowl) {
  Random random(6);
  FloatMatrix x = RandomFloats(4, 5, random);
  const FloatMatrix bottom = RandomFloats(4, 5, random);
  constexpr int kSteps = 400;
  Optimizer optimizer({.steps = kSteps, .learning_rate = 0.1}, {&x});
  for (int step = 0; step < kSteps; ++step) {
    FloatMatrix gradient = x;
    for (size_t i = 0; i < gradient.values().size(); ++i)
      gradient.values()[i] = 2 * (x.values()[i] - bottom.values()[i]);
    optimizer.Step({&gradient});
  }
  for (size_t i = 0; i < x.values().size(); ++i)
    EXPECT_NEAR(x.values()[i], bottom.values()[i], 1e-2);
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
