#include "engine/convert/moments.h"

#include <vector>

#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

TEST(MomentsTest, SumsOuterProductsWhateverTheBlocks) {
  constexpr int kWidth = 13;
  Random random(1);
  std::vector<float> vectors(kWidth * 40);
  for (float& value : vectors) value = static_cast<float>(random.Normal());
  SecondMoment whole(kWidth), blocks(kWidth);
  whole.Add(vectors);
  for (size_t begin = 0, rows = 1; begin < vectors.size(); begin += rows * kWidth, rows += 2)
    blocks.Add(absl::MakeConstSpan(vectors).subspan(begin, rows * kWidth));
  EXPECT_EQ(whole.count(), 40);
  EXPECT_EQ(blocks.count(), 40);
  for (int i = 0; i < kWidth; ++i) {
    for (int j = 0; j < kWidth; ++j) {
      double wanted = 0;
      for (int t = 0; t < 40; ++t)
        wanted += double{vectors[t * kWidth + i]} * vectors[t * kWidth + j];
      EXPECT_NEAR(whole.sum()(i, j), wanted, 1e-12);
      EXPECT_NEAR(blocks.sum()(i, j), wanted, 1e-12);
    }
  }
}

}  // namespace
}  // namespace transmla
