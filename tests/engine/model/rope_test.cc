#include "engine/model/rope.h"

#include <cmath>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/check.h"

namespace transmla {
namespace {

Rope Make(int rotary_dim, double theta, const std::optional<RopeScaling>& scaling = std::nullopt,
          int64_t max_positions = 4096) {
  const absl::StatusOr<Rope> rope = MakeRope(rotary_dim, theta, scaling, max_positions);
  CHECK_OK(rope.status());
  return *rope;
}

void ExpectClose(const std::vector<float>& actual, const std::vector<double>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-6 * expected[i]) << "pair " << i;
  }
}

TEST(RopeTest, FrequenciesFallGeometrically) {
  const Rope rope = Make(8, 10000);
  ExpectClose(rope.inv_freq, {1.0, 0.1, 0.01, 0.001});
  EXPECT_EQ(rope.magnitude, 1.0f);
  ExpectClose(Make(8, 10000, RopeScaling{.type = "default", .factor = 3}).inv_freq,
              {1.0, 0.1, 0.01, 0.001});
}

TEST(RopeTest, LinearScalingStretchesAll) {
  ExpectClose(Make(8, 10000, RopeScaling{.type = "linear", .factor = 4}).inv_freq,
              {0.25, 0.025, 0.0025, 0.00025});
}

// Llama 3.1 8B: what transformers' _compute_llama3_parameters gives for these pairs.
TEST(RopeTest, Llama3StretchesSlowFrequencies) {
  const RopeScaling scaling = {.type = "llama3",
                               .factor = 8,
                               .low_freq_factor = 1,
                               .high_freq_factor = 4,
                               .original_max_position_embeddings = 8192};
  const std::vector<float> plain = Make(128, 500000).inv_freq;
  const std::vector<float> scaled = Make(128, 500000, scaling, 131072).inv_freq;
  for (int pair = 0; pair < 64; ++pair) {
    const double wavelength = 2 * M_PI / plain[pair];
    const double stretch = plain[pair] / scaled[pair];
    if (wavelength < 2048) {
      EXPECT_FLOAT_EQ(stretch, 1) << pair;
    } else if (wavelength > 8192) {
      EXPECT_FLOAT_EQ(stretch, 8) << pair;
    } else {
      EXPECT_GT(stretch, 1) << pair;
      EXPECT_LT(stretch, 8) << pair;
    }
  }
  EXPECT_NEAR(scaled[29], 0.00216657076, 1e-6 * 0.00216657076);
  EXPECT_NEAR(scaled[32], 0.000524846161, 1e-6 * 0.000524846161);
}

// What transformers' _compute_yarn_parameters gives.
TEST(RopeTest, YarnBlendsAndRaisesTheMagnitude) {
  RopeScaling scaling = {.type = "yarn", .factor = 4, .original_max_position_embeddings = 4096};
  const Rope rope = Make(16, 10000, scaling, 16384);
  ExpectClose(rope.inv_freq,
              {1, 0.316227766, 0.1, 0.025693506, 0.00625, 0.00138349648, 0.00025, 7.90569415e-05});
  EXPECT_NEAR(rope.magnitude, 0.1 * std::log(4.0) + 1, 1e-6);

  scaling.attention_factor = 1.5;
  EXPECT_EQ(Make(16, 10000, scaling, 16384).magnitude, 1.5f);
  scaling.attention_factor.reset();
  scaling.mscale = 0.5;
  scaling.mscale_all_dim = 1.0;
  EXPECT_NEAR(Make(16, 10000, scaling, 16384).magnitude,
              (0.05 * std::log(4.0) + 1) / (0.1 * std::log(4.0) + 1), 1e-6);
}

// What transformers' _compute_longrope_parameters gives.
TEST(RopeTest, LongRopeHasAFactorAPair) {
  RopeScaling scaling = {
      .type = "longrope", .short_factor = {1, 2, 0.5, 4}, .long_factor = {1, 2, 0.5, 4}};
  const Rope rope = Make(8, 10000, scaling);
  ExpectClose(rope.inv_freq, {1.0, 0.05, 0.02, 0.00025});
  EXPECT_EQ(rope.magnitude, 1.0f);
  // The reciprocals are the frequencies, to the bit.
  EXPECT_EQ(Make(8, 1, scaling).inv_freq, std::vector<float>({1.0f, 0.5f, 2.0f, 0.25f}));

  scaling.factor = 4;
  EXPECT_NEAR(Make(8, 10000, scaling, 4096).magnitude,
              std::sqrt(1 + std::log(4.0) / std::log(4096.0)), 1e-6);
  scaling.original_max_position_embeddings = 1024;
  EXPECT_NEAR(Make(8, 10000, scaling, 4096).magnitude,
              std::sqrt(1 + std::log(4.0) / std::log(1024.0)), 1e-6);
  scaling.attention_factor = 1.25;
  EXPECT_EQ(Make(8, 10000, scaling).magnitude, 1.25f);
}

// What transformers' _compute_longrope_parameters gives, whatever the length of a sequence.
TEST(RopeTest, LongRopeChoosesItsFactorsOnce) {
  RopeScaling scaling = {.type = "longrope",
                         .original_max_position_embeddings = 64,
                         .short_factor = {1, 2},
                         .long_factor = {4, 5}};
  ExpectClose(Make(4, 10000, scaling, 64).inv_freq, {1, 0.005});
  EXPECT_EQ(Make(4, 10000, scaling, 64).magnitude, 1.0f);
  const Rope rope = Make(4, 10000, scaling, 512);
  ExpectClose(rope.inv_freq, {0.25, 0.002});
  EXPECT_NEAR(rope.magnitude, std::sqrt(1 + std::log(8.0) / std::log(64.0)), 1e-6);
  scaling.attention_factor = 1.25;
  EXPECT_EQ(Make(4, 10000, scaling, 512).magnitude, 1.25f);
}

TEST(RopeTest, RefusesWhatItDoesNotKnow) {
  const auto status = [](const RopeScaling& scaling) {
    return MakeRope(8, 10000, scaling, 64).status().code();
  };
  EXPECT_EQ(status({.type = "dynamic"}), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(status({.type = "longrope", .short_factor = {1, 1}, .long_factor = {1, 1}}),
            absl::StatusCode::kInvalidArgument);
  // Which of two sets it would be, nothing says.
  EXPECT_EQ(status({.type = "longrope", .short_factor = {1, 1, 1, 1}, .long_factor = {1, 1, 1, 2}}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({.type = "linear", .factor = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({.type = "llama3", .factor = 8}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status({.type = "llama3",
                    .factor = 8,
                    .low_freq_factor = 4,
                    .high_freq_factor = 4,
                    .original_max_position_embeddings = 64}),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace transmla
