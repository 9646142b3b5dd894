// Routing and moving rows on a device, at sizes that neither tiles nor blocks divide.
#include "tests/reference/experts.h"

#include <cmath>

#include "tests/engine/backend/backend_fixture.h"
#include "tests/engine/backend/cuda/gpu_fixture.h"

namespace transmla {
namespace {

class CudaExpertsTest : public GpuTest {
 protected:
  void Begin(int tokens) {
    ASSERT_TRUE(backend().Begin(MakeBatch({{0, tokens, {0, 1, 2, 3}}})).ok());
  }
};

TEST_F(CudaExpertsTest, RouteAgreesWithReference) {
  Random random(1);
  for (const int tokens : {1, 67, 256}) {
    for (const auto& [experts, top_k] : {std::pair{1, 1}, std::pair{8, 2}, std::pair{129, 8}}) {
      for (const bool normalize : {false, true}) {
        SCOPED_TRACE(absl::StrCat(tokens, " tokens, ", top_k, " of ", experts));
        Begin(tokens);
        Activations x(backend(), {tokens, experts},
                      RandomFloats(random, int64_t{tokens} * experts, 3.0));
        const std::vector<float> logits = x.Read();  // rounded to BF16
        std::vector<int32_t> chosen(tokens * top_k, -7);
        std::vector<float> weights(tokens * top_k, -7);
        ASSERT_TRUE(backend()
                        .Route({.logits = x.view(),
                                .top_k = top_k,
                                .normalize = normalize,
                                .experts = absl::MakeSpan(chosen),
                                .weights = absl::MakeSpan(weights)})
                        .ok());
        for (int t = 0; t < tokens; ++t) {
          const reference::Routed want =
              reference::Route(logits.data() + t * experts, experts, top_k, normalize);
          for (int j = 0; j < top_k; ++j) {
            ASSERT_EQ(chosen[t * top_k + j], want.experts[j]);
            // CUDA's expf is within 2 units in the last place.
            ASSERT_NEAR(weights[t * top_k + j], want.weights[j],
                        (40 + experts) * 0x1p-24 * want.weights[j]);
          }
        }
      }
    }
  }
}

TEST_F(CudaExpertsTest, RowsComeAndGo) {
  Random random(2);
  const int terms = 3;
  for (const int tokens : {1, 67, 256}) {
    const int64_t cols = 45;
    const int64_t rows = int64_t{tokens} * terms;
    SCOPED_TRACE(absl::StrCat(tokens, " tokens"));
    Begin(tokens);
    Activations in(backend(), {tokens, cols}, RandomFloats(random, tokens * cols));
    const std::vector<float> values = in.Read();
    std::vector<int32_t> from(rows);
    std::vector<int32_t> back(rows);
    for (int32_t& row : from) row = static_cast<int32_t>(random.Below(tokens));
    for (int32_t& row : back) row = static_cast<int32_t>(random.Below(rows));
    const std::vector<float> weights = RandomFloats(random, rows);
    Activations gathered(backend(), {rows, cols});
    ASSERT_TRUE(backend().GatherRows({.in = in.view(), .rows = from, .out = gathered.view()}).ok());
    const std::vector<float> taken = gathered.Read();
    for (int64_t i = 0; i < rows * cols; ++i) {
      ASSERT_EQ(taken[i], values[from[i / cols] * cols + i % cols]);
    }
    for (const bool accumulate : {false, true}) {
      Activations out(backend(), {tokens, cols}, values);
      ASSERT_TRUE(backend()
                      .CombineRows({.in = gathered.view(),
                                    .terms = terms,
                                    .rows = back,
                                    .weights = weights,
                                    .accumulate = accumulate,
                                    .out = out.view()})
                      .ok());
      const std::vector<float> sums = out.Read();
      for (int64_t i = 0; i < tokens * cols; ++i) {
        double exact = accumulate ? values[i] : 0.0f;
        for (int64_t j = i / cols * terms; j < (i / cols + 1) * terms; ++j) {
          exact += double{weights[j]} * taken[back[j] * cols + i % cols];
        }
        // BF16 keeps 8 bits; F32's own roundings are below the rest.
        ASSERT_NEAR(sums[i], exact, 0x1.01p-8 * std::abs(exact) + 0x1p-15) << i;
      }
    }
  }
}

}  // namespace
}  // namespace transmla
