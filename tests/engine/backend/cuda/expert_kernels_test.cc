// The device code of routing and of moving rows, compiled as plain C++
// (engine/backend/cuda/simt.h).
#include "engine/backend/cuda/expert_kernels.cuh"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/base/random.h"
#include "tests/reference/experts.h"

namespace transmla::cuda {
namespace {

constexpr uint16_t kNan = 0x7FC0;  // in BF16

// A thread for each element or more, and fewer threads than elements.
struct Grid {
  unsigned blocks;
  unsigned threads;
};
class ExpertKernelsTest : public ::testing::TestWithParam<Grid> {
 protected:
  template <typename Kernel, typename... Args>
  void Launch(Kernel kernel, Args... args) {
    simt::Launch(GetParam().blocks, GetParam().threads, kernel, args...);
  }
};
INSTANTIATE_TEST_SUITE_P(Grids, ExpertKernelsTest,
                         ::testing::Values(Grid{1, 1}, Grid{3, 5}, Grid{7, 32}),
                         [](const auto& test) {
                           return absl::StrCat(test.param.blocks, "x", test.param.threads);
                         });

std::vector<uint16_t> RandomBits(Random& random, int64_t n) {
  std::vector<uint16_t> bits(n);
  for (uint16_t& value : bits) value = FloatToBf16(static_cast<float>(random.Normal() * 3));
  return bits;
}

TEST_P(ExpertKernelsTest, RoutesAsTheReferenceDoes) {
  Random random(1);
  const int64_t tokens = 17;
  for (const int experts : {1, 5, 8, 67}) {
    for (const int top_k : {1, 2, 5}) {
      if (top_k > experts) continue;
      for (const bool normalize : {false, true}) {
        SCOPED_TRACE(absl::StrCat(top_k, " of ", experts, normalize ? ", normalised" : ""));
        // Numbers of 8 bits: some are equal.
        const std::vector<uint16_t> logits = RandomBits(random, tokens * experts);
        std::vector<int32_t> chosen(tokens * top_k + 1, -7);
        std::vector<float> weights(tokens * top_k + 1, -7.0f);
        Launch(RouteKernel, logits.data(), tokens, experts, top_k, normalize, chosen.data(),
               weights.data());
        for (int64_t t = 0; t < tokens; ++t) {
          std::vector<float> row;
          for (int e = 0; e < experts; ++e) row.push_back(Bf16ToFloat(logits[t * experts + e]));
          const reference::Routed want = reference::Route(row.data(), experts, top_k, normalize);
          for (int j = 0; j < top_k; ++j) {
            ASSERT_EQ(chosen[t * top_k + j], want.experts[j]);
            ASSERT_NEAR(weights[t * top_k + j], want.weights[j],
                        (30 + experts) * 0x1p-24 * want.weights[j]);
          }
        }
        EXPECT_EQ(chosen.back(), -7);
        EXPECT_EQ(weights.back(), -7.0f);
      }
    }
  }
}

TEST_P(ExpertKernelsTest, GathersRows) {
  const std::vector<uint16_t> in = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const std::vector<int32_t> rows = {2, 0, 2, 1};
  std::vector<uint16_t> out(13, kNan);
  Launch(GatherKernel, in.data(), rows.data(), int64_t{3}, int64_t{12}, out.data());
  EXPECT_THAT(out, ::testing::ElementsAre(7, 8, 9, 1, 2, 3, 7, 8, 9, 4, 5, 6, +kNan));
}

TEST_P(ExpertKernelsTest, AddsUpWeightedRows) {
  Random random(2);
  const int64_t tokens = 5;
  const int64_t cols = 7;
  const int64_t size = tokens * cols;
  const int terms = 3;
  const std::vector<uint16_t> in = RandomBits(random, tokens * terms * cols);
  const std::vector<uint16_t> residual = RandomBits(random, size + 1);
  std::vector<int32_t> rows(tokens * terms);
  std::vector<float> weights(tokens * terms);
  for (int32_t& row : rows) row = static_cast<int32_t>(random.Below(tokens * terms));
  for (float& weight : weights) weight = static_cast<float>(random.Normal());
  for (const bool accumulate : {false, true}) {
    std::vector<uint16_t> out = residual;
    // What is only written may hold anything before.
    if (!accumulate) std::fill(out.begin(), out.end() - 1, kNan);
    Launch(CombineKernel, in.data(), rows.data(), weights.data(), terms, accumulate, cols, size,
           out.data());
    for (int64_t i = 0; i < size; ++i) {
      double exact = accumulate ? Bf16ToFloat(residual[i]) : 0.0f;
      for (int64_t j = i / cols * terms; j < (i / cols + 1) * terms; ++j) {
        exact += double{weights[j]} * Bf16ToFloat(in[rows[j] * cols + i % cols]);
      }
      // BF16 keeps 8 bits; F32's own roundings are below the rest.
      EXPECT_NEAR(Bf16ToFloat(out[i]), exact, 0x1.01p-8 * std::abs(exact) + 0x1p-15) << i;
    }
    EXPECT_EQ(out.back(), residual.back());
  }
}

// Two terms of 2^-9 beside 1 would each be lost in BF16; together they are not.
TEST_P(ExpertKernelsTest, RoundsOnce) {
  const std::vector<uint16_t> in = {FloatToBf16(0x1p-9f), FloatToBf16(0x1p-9f + 0x1p-16f)};
  const std::vector<int32_t> rows = {0, 1};
  const std::vector<float> weights = {1, 1};
  uint16_t out = FloatToBf16(1.0f);
  Launch(CombineKernel, in.data(), rows.data(), weights.data(), 2, true, int64_t{1}, int64_t{1},
         &out);
  EXPECT_EQ(Bf16ToFloat(out), 1.0f + 0x1p-7f);
}

}  // namespace
}  // namespace transmla::cuda
