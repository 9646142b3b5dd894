// DType, Shape, TensorView and HostTensor.
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/tensor/dtype.h"
#include "engine/tensor/host_tensor.h"
#include "engine/tensor/shape.h"
#include "engine/tensor/tensor_view.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;

TEST(DTypeTest, NamesAreReadBack) {
  std::set<std::string> names;
  for (int i = 0; i <= static_cast<int>(DType::kQ6_K); ++i) {
    const auto dtype = static_cast<DType>(i);
    names.insert(std::string(DTypeName(dtype)));
    EXPECT_EQ(ParseDType(DTypeName(dtype)), dtype);
  }
  EXPECT_EQ(names.size(), 18u);
  EXPECT_EQ(ParseDType("Q4_K"), std::nullopt);
  EXPECT_EQ(ParseDType(""), std::nullopt);
}

TEST(DTypeTest, RowsTakeTheirBlocksBytes) {
  EXPECT_EQ(RowBytes(DType::kF32, 3), 12);
  EXPECT_EQ(RowBytes(DType::kBF16, 3), 6);
  EXPECT_EQ(RowBytes(DType::kQ4_1, 64), 40);
  EXPECT_EQ(RowBytes(DType::kQ4_K, 512), 288);
  EXPECT_EQ(RowBytes(DType::kQ6_K, 0), 0);
  EXPECT_EQ(RowBytes(DType::kI64, int64_t{1} << 40), int64_t{1} << 43);
  EXPECT_TRUE(IsBlockQuantized(DType::kQ8_0));
  EXPECT_FALSE(IsBlockQuantized(DType::kF16));
}

TEST(DTypeDeathTest, PartsOfBlocksAreBugs) {
  EXPECT_DEATH(RowBytes(DType::kQ4_0, 31), "block_elements");
  EXPECT_DEATH(RowBytes(DType::kF32, -1), "elements >= 0");
}

TEST(ShapeTest, CountsElements) {
  const Shape shape({2, 3, 5});
  EXPECT_EQ(shape.rank(), 3);
  EXPECT_EQ(shape.elements(), 30);
  EXPECT_EQ(shape.rows(), 6);
  EXPECT_EQ(shape.cols(), 5);
  EXPECT_EQ(shape[1], 3);
  EXPECT_THAT(shape.dims(), ElementsAre(2, 3, 5));
  EXPECT_EQ(shape.ToString(), "[2, 3, 5]");

  EXPECT_EQ(Shape().elements(), 1);
  EXPECT_EQ(Shape().ToString(), "[]");
  EXPECT_EQ(Shape({4, 0}).elements(), 0);
  EXPECT_EQ(Shape({4, 0}).rows(), 0);
}

TEST(ShapeTest, EqualityLooksAtRankAndDimensions) {
  EXPECT_EQ(Shape({2, 3}), Shape({2, 3}));
  EXPECT_NE(Shape({2, 3}), Shape({3, 2}));
  EXPECT_NE(Shape({2, 3}), Shape({2, 3, 1}));
}

TEST(ShapeDeathTest, WrongShapesAreBugs) {
  EXPECT_DEATH(Shape({1, 2, 3, 4, 5}), "kMaxRank");
  EXPECT_DEATH(Shape({1, -2}), ">= 0");
  EXPECT_DEATH(Shape({1, 2})[2], "rank_");
}

TEST(HostTensorTest, OwnsAlignedBytes) {
  HostTensor tensor(DType::kQ8_0, {3, 64});
  EXPECT_EQ(tensor.view().bytes(), 3 * 68);
  EXPECT_EQ(tensor.mutable_view().bytes(), 3 * 68);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.view().data) % AlignedBuffer::kAlignment, 0u);
  tensor.as<uint8_t>()[3 * 68 - 1] = 7;
  const HostTensor moved = std::move(tensor);
  EXPECT_EQ(moved.as<uint8_t>()[3 * 68 - 1], 7);
  EXPECT_EQ(moved.shape(), Shape({3, 64}));
  EXPECT_EQ(moved.dtype(), DType::kQ8_0);
}

TEST(AlignedBufferTest, NoBytesNoMemory) {
  EXPECT_EQ(AlignedBuffer().data(), nullptr);
  EXPECT_EQ(AlignedBuffer(0).data(), nullptr);
  EXPECT_EQ(AlignedBuffer(1).size(), 1u);
}

}  // namespace
}  // namespace transmla
