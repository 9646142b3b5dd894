#include "engine/format/safetensors_writer.h"

#include <bit>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/base/check.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/format/safetensors_reader.h"
#include "engine/tensor/block_formats.h"
#include "engine/tensor/float_types.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/safetensors_builder.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using testing::FaultyFileSystem;
using ::testing::HasSubstr;
using testing::kSmallConfig;
using testing::TempFolder;

const std::vector<TensorInfo>& Infos() {
  static const auto* const infos = new std::vector<TensorInfo>{
      {"a.f32", DType::kF32, {3, 5}},   {"b.f32", DType::kF32, {7}},
      {"c.bf16", DType::kBF16, {2, 9}}, {"d.f16", DType::kF16, {4, 3, 2}},
      {"e.bf16", DType::kBF16, {11}},
  };
  return *infos;
}

// Values that every type holds exactly.
std::vector<float> Values(const TensorInfo& info) {
  Random random = Random(1).Split(info.name);
  std::vector<float> values(info.shape.elements());
  for (float& value : values) value = static_cast<float>(random.Below(200)) - 100;
  return values;
}

std::string Encoded(const TensorInfo& info) {
  const std::vector<float> values = Values(info);
  std::string bytes(RowBytes(info.dtype, info.shape.elements()), '\0');
  CHECK_OK(QuantizeRow(info.dtype, values, bytes.data()));
  return bytes;
}

using Writer = absl::StatusOr<std::unique_ptr<SafetensorsWriter>>;

Writer Create(FileSystem& files, const TempFolder& folder, int64_t max_shard_bytes = 1 << 20) {
  return SafetensorsWriter::Create(files, folder.path(), Infos(),
                                   {.max_shard_bytes = max_shard_bytes});
}

// Row by row, alternately as bytes and as floats.
absl::Status WriteRows(SafetensorsWriter& writer) {
  int row_number = 0;
  for (const TensorInfo& info : Infos()) {
    const std::vector<float> values = Values(info);
    const std::string bytes = Encoded(info);
    const int64_t cols = info.shape.cols();
    const int64_t row_bytes = RowBytes(info.dtype, cols);
    for (int64_t row = 0; row < info.shape.rows(); ++row) {
      RETURN_IF_ERROR(
          row_number++ % 2 == 0
              ? writer.Append(info.name, {bytes.data() + row * row_bytes, info.dtype, {1, cols}})
              : writer.AppendFloats(info.name,
                                    absl::MakeConstSpan(values).subspan(row * cols, cols)));
    }
  }
  return writer.Finish();
}

void ExpectReadsBack(const TempFolder& folder) {
  folder.Write("config.json", kSmallConfig);
  const auto reader = SafetensorsReader::OpenFolder(*PosixFileSystem(), folder.path());
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_EQ((*reader)->tensors().size(), Infos().size());
  for (size_t i = 0; i < Infos().size(); ++i) {
    const TensorInfo& info = Infos()[i];
    EXPECT_EQ((*reader)->tensors()[i].name, info.name);
    const absl::StatusOr<TensorView> view = (*reader)->Tensor(info.name);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->dtype, info.dtype);
    EXPECT_EQ(view->shape, info.shape);
    EXPECT_EQ(std::string(view->as<char>(), view->bytes()), Encoded(info)) << info.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data) % TraitsOf(info.dtype).block_bytes, 0u);
  }
}

TEST(SafetensorsWriterTest, OneShardReadsBack) {
  const TempFolder folder;
  const Writer writer = Create(*PosixFileSystem(), folder);
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(WriteRows(**writer).ok());
  EXPECT_THAT(*PosixFileSystem()->List(folder.path()), ElementsAre("model.safetensors"));
  EXPECT_THAT(folder.Read("model.safetensors"), HasSubstr(R"("__metadata__":{"format":"pt"})"));
  ExpectReadsBack(folder);
}

TEST(SafetensorsWriterTest, ShardsReadBackThroughTheirIndex) {
  const TempFolder folder;
  const Writer writer = Create(*PosixFileSystem(), folder, 90);
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(WriteRows(**writer).ok());
  // 60 + 28, 36 + 48 and 22 bytes.
  EXPECT_THAT(*PosixFileSystem()->List(folder.path()),
              ElementsAre("model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                          "model-00003-of-00003.safetensors", "model.safetensors.index.json"));
  const auto index = nlohmann::json::parse(folder.Read("model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 60 + 28 + 36 + 48 + 22);
  EXPECT_EQ(index["weight_map"]["c.bf16"], "model-00002-of-00003.safetensors");
  ExpectReadsBack(folder);
}

TEST(SafetensorsWriterTest, ATensorLargerThanAShardHasItsOwn) {
  const TempFolder folder;
  const Writer writer = Create(*PosixFileSystem(), folder, 1);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(WriteRows(**writer).ok());
  EXPECT_EQ(folder.Count(), 6);
  ExpectReadsBack(folder);
}

TEST(SafetensorsWriterTest, FloatsAreRoundedToNearest) {
  const TempFolder folder;
  auto writer =
      SafetensorsWriter::Create(*PosixFileSystem(), folder.path(), {{"x", DType::kBF16, {2}}}, {});
  ASSERT_TRUE(writer.ok());
  const std::vector<float> values = {1.0f + 0x1p-8f, 1.0f + 0x1.8p-8f};
  ASSERT_TRUE((*writer)->AppendFloats("x", values).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  const std::string file = folder.Read("model.safetensors");
  EXPECT_EQ(file.substr(file.size() - 4), std::string("\x80\x3f\x81\x3f", 4));
}

// Whatever change of the disk fails: an error, and an empty folder.
TEST(SafetensorsWriterTest, AFailureLeavesNothingBehind) {
  for (const int64_t max_shard_bytes : {90, 1 << 20}) {
    int failures = 0;
    for (int n = 1;; ++n) {
      const TempFolder folder;
      FaultyFileSystem faulty(n, absl::ResourceExhaustedError("disk full"), /*for_good=*/false);
      absl::Status status;
      {
        const Writer writer = Create(faulty, folder, max_shard_bytes);
        status = writer.ok() ? WriteRows(**writer) : writer.status();
        if (writer.ok() && !status.ok()) {
          EXPECT_EQ((*writer)->Finish(), status) << "the first error stays";
        }
      }
      EXPECT_EQ(status.ok(), faulty.changes() < n);
      if (status.ok()) break;
      ++failures;
      EXPECT_EQ(folder.Count(), 0) << "change " << n << ": " << status;
    }
    // A shard: create, header, its rows, sync, rename; 19 rows; the index: four more.
    EXPECT_EQ(failures, max_shard_bytes == 90 ? 3 * 4 + 19 + 4 : 4 + 19);
  }
}

TEST(SafetensorsWriterTest, AWriterThatIsGivenUpLeavesNothingBehind) {
  const TempFolder folder;
  {
    const Writer writer = Create(*PosixFileSystem(), folder, 90);
    ASSERT_TRUE(writer.ok());
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE((*writer)->AppendFloats(Infos()[i].name, Values(Infos()[i])).ok());
    }
    ASSERT_TRUE((*writer)->AppendFloats("c.bf16", std::vector<float>(9)).ok());
    EXPECT_EQ(folder.Count(), 2);  // shards under temporary names
  }
  EXPECT_EQ(folder.Count(), 0);
}

TEST(SafetensorsWriterTest, FinishingTwiceIsFinishingOnce) {
  const TempFolder folder;
  const Writer writer = Create(*PosixFileSystem(), folder);
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE(WriteRows(**writer).ok());
  EXPECT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ(folder.Count(), 1);
}

TEST(SafetensorsWriterTest, RowsComeInTheDeclaredOrder) {
  const std::vector<float> row(5);
  const std::function<absl::Status(SafetensorsWriter&)> mistakes[] = {
      [&](SafetensorsWriter& w) { return w.AppendFloats("b.f32", row); },
      [&](SafetensorsWriter& w) { return w.AppendFloats("unknown", row); },
      [&](SafetensorsWriter& w) {
        return w.AppendFloats("a.f32", absl::MakeConstSpan(row).first(4));
      },
      [&](SafetensorsWriter& w) { return w.AppendFloats("a.f32", std::vector<float>(20)); },
      [&](SafetensorsWriter& w) {
        return w.Append("a.f32", {row.data(), DType::kBF16, {1, 5}});
      },
      [&](SafetensorsWriter& w) { return w.Finish(); },
  };
  for (const auto& mistake : mistakes) {
    const TempFolder folder;
    const Writer writer = Create(*PosixFileSystem(), folder);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->AppendFloats("a.f32", std::vector<float>(5)).ok());
    const absl::Status status = mistake(**writer);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_EQ((*writer)->AppendFloats("a.f32", row), status);
    EXPECT_EQ(folder.Count(), 0);
  }
}

TEST(SafetensorsWriterTest, RefusesWhatTheFormatCannotHold) {
  const TempFolder folder;
  const auto refused = [&](std::vector<TensorInfo> infos) {
    return std::string(
        SafetensorsWriter::Create(*PosixFileSystem(), folder.path(), std::move(infos), {})
            .status()
            .message());
  };
  EXPECT_THAT(refused({}), HasSubstr("at least one tensor"));
  EXPECT_THAT(refused({{"x", DType::kF32, {1}}, {"x", DType::kF32, {1}}}),
              HasSubstr("declared twice"));
  EXPECT_THAT(refused({{"", DType::kF32, {1}}}), HasSubstr("cannot be the name"));
  EXPECT_THAT(refused({{"__metadata__", DType::kF32, {1}}}), HasSubstr("cannot be the name"));
  EXPECT_THAT(refused({{"x", DType::kQ4_0, {32}}}), HasSubstr("q4_0"));
  EXPECT_THAT(refused({{"x", DType::kF32, {0, 4}}}), HasSubstr("[0, 4]"));
  EXPECT_THAT(refused({{"x", DType::kF32, {int64_t{1} << 40, int64_t{1} << 40}}}),
              HasSubstr("too large"));
  EXPECT_THAT(refused({{"x", DType::kBF16, {1}}, {"y", DType::kF32, {1}}}),
              HasSubstr("wider types first"));
  EXPECT_THAT(refused({{"x", DType::kF32, {int64_t{1} << 50}}}), HasSubstr("the disk has"));
  EXPECT_EQ(folder.Count(), 0);
}

TEST(SafetensorsWriterTest, NeverTouchesAnotherModel) {
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", "model-00007-of-00009.safetensors"}) {
    const TempFolder folder;
    folder.Write(name, "precious");
    const absl::Status status = Create(*PosixFileSystem(), folder).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
    EXPECT_EQ(folder.Read(name), "precious");
  }
}

}  // namespace
}  // namespace transmla
