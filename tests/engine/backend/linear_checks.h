// What holds for Linear and PerHeadLinear whatever the weight's type and the kind of product.
#ifndef TRANSMLA_TESTS_ENGINE_BACKEND_LINEAR_CHECKS_H_
#define TRANSMLA_TESTS_ENGINE_BACKEND_LINEAR_CHECKS_H_

#include <cstring>
#include <functional>
#include <limits>
#include <vector>

#include "tests/engine/backend/backend_fixture.h"
#include "tests/reference/linear.h"

namespace transmla {

// Tokens `in` in groups of each of these sizes have the bits that they have all together.
inline void ExpectBitsOfTokensTogether(Backend& backend, const PackedWeight& weight,
                                       const std::vector<float>& in, int64_t tokens,
                                       const std::vector<int64_t>& counts) {
  const int64_t rows = weight.shape()[0];
  const int64_t k = weight.shape()[1];
  const std::vector<float> together = RunLinear(backend, weight, in, tokens);
  for (const int64_t count : counts) {
    for (int64_t t = 0; t + count <= tokens; t += count) {
      const std::vector<float> part(in.begin() + t * k, in.begin() + (t + count) * k);
      const std::vector<float> alone = RunLinear(backend, weight, part, count);
      ASSERT_EQ(std::memcmp(alone.data(), together.data() + t * rows, alone.size() * sizeof(float)),
                0)
          << count << " tokens from " << t;
    }
  }
}

// A bias is added to the product, and their sum to what `out` holds, bit for bit.
inline void ExpectBiasAndResidualAdded(Backend& backend, const PackedWeight& weight,
                                       int64_t tokens) {
  const int64_t rows = weight.shape()[0];
  const int64_t k = weight.shape()[1];
  Random random(6);
  const std::vector<float> bias = RandomFloats(random, rows);
  const std::vector<float> residual = RandomFloats(random, tokens * rows);
  const std::vector<float> in = RandomFloats(random, tokens * k);
  const std::vector<float> plain = RunLinear(backend, weight, in, tokens);
  const WeightPtr packed_bias = PackFloats(backend, {rows}, bias, WeightRole::kVector);
  Activations x(backend, {tokens, k}, in);
  Activations y(backend, {tokens, rows}, residual);
  ASSERT_TRUE(backend
                  .Linear({.in = x.view(),
                           .weight = &weight,
                           .bias = packed_bias.get(),
                           .accumulate = true,
                           .out = y.view()})
                  .ok());
  const std::vector<float> out = y.Read();
  for (int64_t i = 0; i < tokens * rows; ++i) {
    EXPECT_EQ(out[i], residual[i] + (plain[i] + bias[i % rows]));
  }
}

// PerHeadLinear by `weight` [heads, rows, k], of these values, of a part of each head; `multiplied`
// gives activations as the backend multiplies them.
inline void ExpectPartsOfHeads(
    Backend& backend, const PackedWeight& weight, const std::vector<float>& values, int64_t tokens,
    const std::function<std::vector<float>(const std::vector<float>&)>& multiplied) {
  const int64_t heads = weight.shape()[0];
  const int64_t rows = weight.shape()[1];
  const int64_t k = weight.shape()[2];
  const int64_t width = k + 7;
  const int offset = 5;
  Random random(8);
  std::vector<float> in = RandomFloats(random, tokens * heads * width);
  // What lies beside the part must not be read into a sum.
  for (int64_t i = 0; i < tokens * heads; ++i) {
    in[i * width + offset - 1] = std::numeric_limits<float>::quiet_NaN();
    in[i * width + offset + k] = std::numeric_limits<float>::quiet_NaN();
  }
  Activations x(backend, {tokens, heads, width}, in);
  Activations y(backend, {tokens, heads, rows}, std::numeric_limits<float>::quiet_NaN());
  ASSERT_TRUE(
      backend
          .PerHeadLinear({.in = x.view(), .in_offset = offset, .weight = &weight, .out = y.view()})
          .ok());
  const std::vector<float> factors = multiplied(in);
  const std::vector<float> out = y.Read();
  for (int64_t i = 0; i < tokens * heads; ++i) {
    for (int64_t r = 0; r < rows; ++r) {
      const reference::Dot dot = reference::DotProduct(values.data() + (i % heads * rows + r) * k,
                                                       factors.data() + i * width + offset, k);
      ASSERT_NEAR(out[i * rows + r], dot.sum, reference::DotTolerance(dot, k));
    }
  }
}

}  // namespace transmla

#endif  // TRANSMLA_TESTS_ENGINE_BACKEND_LINEAR_CHECKS_H_
