#include "engine/tensor/block_formats.h"

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/golden_tensors.h"

namespace transmla {
namespace {

using testing::GoldenTensors;
using ::testing::HasSubstr;

const GoldenTensors& Golden() {
  static const auto* const tensors = new GoldenTensors(
      absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/block_formats.safetensors"));
  return *tensors;
}

class BlockFormatTest : public ::testing::TestWithParam<DType> {
 protected:
  std::string Name(const char* part) const {
    return absl::StrCat(DTypeName(GetParam()), ".", part);
  }
};

// Random bytes, among them scales that are infinite, not numbers or subnormal.
TEST_P(BlockFormatTest, DecodesWhatTheGgufPackageDecodes) {
  const std::vector<uint8_t> bytes = Golden().Get<uint8_t>(Name("bytes"));
  const std::vector<float> expected = Golden().Get<float>(Name("values"));
  ASSERT_EQ(static_cast<int64_t>(bytes.size()), RowBytes(GetParam(), expected.size()));
  std::vector<float> values(expected.size());
  DequantizeRow(GetParam(), bytes.data(), absl::MakeSpan(values));
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isnan(expected[i])) {
      EXPECT_TRUE(std::isnan(values[i])) << i;
    } else {
      // To the last bit, but for the sign of zero: 0 · -1 + 0 depends on the order of terms.
      EXPECT_EQ(values[i], expected[i]) << i;
    }
  }
}

TEST_P(BlockFormatTest, RowsNeedNoAlignment) {
  std::vector<uint8_t> bytes = Golden().Get<uint8_t>(Name("bytes"));
  const int64_t elements = static_cast<int64_t>(Golden().Get<float>(Name("values")).size());
  std::vector<float> aligned(elements);
  DequantizeRow(GetParam(), bytes.data(), absl::MakeSpan(aligned));
  bytes.insert(bytes.begin(), 0);
  std::vector<float> shifted(elements);
  DequantizeRow(GetParam(), bytes.data() + 1, absl::MakeSpan(shifted));
  for (int64_t i = 0; i < elements; ++i) {
    EXPECT_EQ(std::bit_cast<uint32_t>(shifted[i]), std::bit_cast<uint32_t>(aligned[i])) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, BlockFormatTest,
                         ::testing::Values(DType::kF16, DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                                           DType::kQ5_0, DType::kQ5_1, DType::kQ8_0, DType::kQ2_K,
                                           DType::kQ3_K, DType::kQ4_K, DType::kQ5_K, DType::kQ6_K),
                         [](const auto& test) { return std::string(DTypeName(test.param)); });

TEST(QuantizeTest, Q8EncodesWhatTheGgufPackageEncodes) {
  const std::vector<float> source = Golden().Get<float>("q8_0.source");
  std::vector<uint8_t> encoded(RowBytes(DType::kQ8_0, source.size()));
  ASSERT_TRUE(QuantizeRow(DType::kQ8_0, source, encoded.data()).ok());
  EXPECT_EQ(encoded, Golden().Get<uint8_t>("q8_0.encoded"));
}

TEST(QuantizeTest, Q8StaysWithinHalfAStep) {
  const std::vector<float> source = Golden().Get<float>("q8_0.source");
  std::vector<uint8_t> encoded(RowBytes(DType::kQ8_0, source.size()));
  ASSERT_TRUE(QuantizeRow(DType::kQ8_0, source, encoded.data()).ok());
  std::vector<float> decoded(source.size());
  DequantizeRow(DType::kQ8_0, encoded.data(), absl::MakeSpan(decoded));
  for (size_t block = 0; block < source.size(); block += 32) {
    float largest = 0;
    for (size_t i = block; i < block + 32; ++i) largest = std::max(largest, std::abs(source[i]));
    // Half a step, and what the rounding of the scale to half precision adds.
    const float bound = largest * (0.5f / 127 + 0x1p-11f);
    for (size_t i = block; i < block + 32; ++i) EXPECT_NEAR(decoded[i], source[i], bound) << i;
  }
}

TEST(QuantizeTest, Q8SaturatesWhatIsNoNumber) {
  std::vector<float> row(32, 1.0f);
  row[3] = std::numeric_limits<float>::quiet_NaN();
  row[4] = std::numeric_limits<float>::infinity();
  std::vector<uint8_t> encoded(34);
  EXPECT_TRUE(QuantizeRow(DType::kQ8_0, row, encoded.data()).ok());
}

TEST(QuantizeTest, PlainTypesRoundTrip) {
  const std::vector<float> row = {0, -0.5f, 1, 1.0f + 0x1p-7f, -3.25f, 0x1p-14f};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    std::vector<uint8_t> bytes(RowBytes(dtype, row.size()));
    ASSERT_TRUE(QuantizeRow(dtype, row, bytes.data()).ok());
    std::vector<float> decoded(row.size());
    DequantizeRow(dtype, bytes.data(), absl::MakeSpan(decoded));
    EXPECT_EQ(decoded, row) << DTypeName(dtype);
  }
}

TEST(QuantizeTest, OtherTypesAreErrors) {
  const std::vector<float> row(256);
  std::vector<uint8_t> bytes(1024);
  const absl::Status type = QuantizeRow(DType::kQ4_K, row, bytes.data());
  EXPECT_EQ(type.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(type.message()), HasSubstr("q4_k"));
  const absl::Status length =
      QuantizeRow(DType::kQ8_0, absl::MakeConstSpan(row).first(33), bytes.data());
  EXPECT_THAT(std::string(length.message()), HasSubstr("33 elements"));
}

TEST(BlockFormatsTest, WholeNumbersAreNoWeights) {
  EXPECT_TRUE(IsDequantizable(DType::kF32));
  EXPECT_TRUE(IsDequantizable(DType::kQ3_K));
  EXPECT_FALSE(IsDequantizable(DType::kI8));
  EXPECT_FALSE(IsDequantizable(DType::kI64));
  EXPECT_FALSE(IsDequantizable(DType::kF64));
}

TEST(BlockFormatsDeathTest, RowsAreWholeBlocks) {
  const std::vector<uint8_t> bytes(34);
  std::vector<float> out(31);
  EXPECT_DEATH(DequantizeRow(DType::kQ8_0, bytes.data(), absl::MakeSpan(out)), "block_elements");
}

}  // namespace
}  // namespace transmla
