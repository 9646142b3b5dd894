#include "engine/format/gguf_writer.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/check.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/format/gguf_reader.h"
#include "engine/tensor/block_formats.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/gguf_builder.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using testing::Bytes;
using ::testing::ElementsAre;
using testing::FaultyFileSystem;
using testing::GgufString;
using ::testing::HasSubstr;
using testing::TempFolder;

// No tensor but one is a multiple of 32 bytes long, so that padding shows.
const std::vector<TensorInfo>& Infos() {
  static const auto* const infos = new std::vector<TensorInfo>{
      {"a.f32", DType::kF32, {3, 5}},    {"b.bf16", DType::kBF16, {2, 9}},
      {"c.q8_0", DType::kQ8_0, {3, 64}}, {"d.f16", DType::kF16, {4, 3, 2}},
      {"e.f32", DType::kF32, {8}},       {"f.q8_0", DType::kQ8_0, {2, 3, 32}},
  };
  return *infos;
}

std::vector<float> Values(const TensorInfo& info) {
  Random random = Random(1).Split(info.name);
  std::vector<float> values(info.shape.elements());
  for (float& value : values) value = static_cast<float>(random.Below(200)) - 100;
  return values;
}

std::string Encoded(const TensorInfo& info) {
  std::string bytes(TensorBytes(info), '\0');
  CHECK_OK(QuantizeRow(info.dtype, Values(info), bytes.data()));
  return bytes;
}

GgufEntry Number(absl::string_view key, uint32_t value) {
  return {std::string(key), {GgufType::kUint32, uint64_t{value}}};
}

GgufEntry Text(absl::string_view key, absl::string_view value) {
  return {std::string(key), {GgufType::kString, value}};
}

// What the reader asks of every model.
std::vector<GgufEntry> ModelEntries() {
  return {Text("general.architecture", "llama"),
          Number("llama.block_count", 1),
          Number("llama.embedding_length", 8),
          Number("llama.feed_forward_length", 16),
          Number("llama.attention.head_count", 2),
          Number("llama.context_length", 64),
          Number("llama.vocab_size", 4)};
}

using Writer = absl::StatusOr<std::unique_ptr<GgufWriter>>;

Writer Create(FileSystem& files, const TempFolder& folder) {
  return GgufWriter::Create(files, folder.File("m.gguf"), ModelEntries(), Infos());
}

// Row by row, alternately as bytes and as floats.
absl::Status WriteRows(GgufWriter& writer) {
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

TEST(GgufWriterTest, TensorsReadBack) {
  const TempFolder folder;
  const Writer writer = Create(*PosixFileSystem(), folder);
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(WriteRows(**writer).ok());
  EXPECT_TRUE((*writer)->Finish().ok()) << "finishing twice is finishing once";
  EXPECT_THAT(*PosixFileSystem()->List(folder.path()), ElementsAre("m.gguf"));
  EXPECT_EQ(folder.Read("m.gguf").size() % 32, 0u);
  EXPECT_EQ(folder.Read("m.gguf").substr(0, 8), absl::StrCat("GGUF", Bytes<uint32_t>(3)));

  const auto reader = GgufReader::Open(*PosixFileSystem(), folder.File("m.gguf"));
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
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view->data) % 32, 0u) << info.name;
  }
}

// Scalars of every type at an end of their range, and arrays of each.
struct EveryType {
  std::deque<std::string> scalars;  // arrays point into these
  std::vector<GgufEntry> entries;
};

template <typename Stored, typename Kept>
void AddScalars(GgufType type, Stored value, EveryType& all) {
  const std::string name(GgufTypeName(type));
  all.entries.push_back({"scalar." + name, {type, static_cast<Kept>(value)}});
  GgufArray array;
  array.element_type = type;
  array.count = 3;
  const Stored values[] = {Stored{}, value, Stored{1}};
  array.scalars = all.scalars.emplace_back(reinterpret_cast<const char*>(values), sizeof(values));
  all.entries.push_back({"array." + name, {GgufType::kArray, array}});
}

EveryType MakeEveryType() {
  EveryType all;
  AddScalars<uint8_t, uint64_t>(GgufType::kUint8, 255, all);
  AddScalars<int8_t, int64_t>(GgufType::kInt8, -128, all);
  AddScalars<uint16_t, uint64_t>(GgufType::kUint16, 65535, all);
  AddScalars<int16_t, int64_t>(GgufType::kInt16, -32768, all);
  AddScalars<uint32_t, uint64_t>(GgufType::kUint32, 4294967295u, all);
  AddScalars<int32_t, int64_t>(GgufType::kInt32, INT32_MIN, all);
  AddScalars<uint64_t, uint64_t>(GgufType::kUint64, UINT64_MAX, all);
  AddScalars<int64_t, int64_t>(GgufType::kInt64, INT64_MIN, all);
  AddScalars<float, double>(GgufType::kFloat32, -0.1f, all);
  AddScalars<double, double>(GgufType::kFloat64, 1e300, all);
  AddScalars<bool, bool>(GgufType::kBool, true, all);
  const absl::string_view text("any bytes: \xff\0 \xe2\x82\xac", 18);
  all.entries.push_back({"scalar.string", {GgufType::kString, text}});
  all.entries.push_back({"scalar.empty", {GgufType::kString, absl::string_view()}});
  GgufArray strings;
  strings.element_type = GgufType::kString;
  strings.strings = {"one", "", text};
  strings.count = 3;
  all.entries.push_back({"array.string", {GgufType::kArray, strings}});
  GgufArray nested;
  nested.element_type = GgufType::kArray;
  nested.nested = {{GgufType::kArray, strings}, all.entries[1].value};
  nested.count = 2;
  all.entries.push_back({"array.array", {GgufType::kArray, nested}});
  GgufArray empty;
  empty.element_type = GgufType::kInt32;
  all.entries.push_back({"array.empty", {GgufType::kArray, empty}});
  return all;
}

void ExpectSame(const GgufValue& got, const GgufValue& wanted) {
  ASSERT_EQ(got.type, wanted.type);
  ASSERT_EQ(got.value.index(), wanted.value.index());
  const auto* array = std::get_if<GgufArray>(&wanted.value);
  if (array == nullptr) {
    std::visit(
        [&]<typename T>(const T& value) {
          if constexpr (!std::is_same_v<T, GgufArray>) {
            EXPECT_EQ(std::get<T>(got.value), value);
          }
        },
        wanted.value);
    return;
  }
  const auto& read = std::get<GgufArray>(got.value);
  EXPECT_EQ(read.element_type, array->element_type);
  EXPECT_EQ(read.count, array->count);
  EXPECT_EQ(read.scalars, array->scalars);
  EXPECT_EQ(read.strings, array->strings);
  ASSERT_EQ(read.nested.size(), array->nested.size());
  for (size_t i = 0; i < read.nested.size(); ++i) ExpectSame(read.nested[i], array->nested[i]);
}

TEST(GgufWriterTest, MetadataOfEveryTypeReadsBack) {
  std::vector<GgufEntry> entries = ModelEntries();
  const EveryType all = MakeEveryType();
  entries.insert(entries.end(), all.entries.begin(), all.entries.end());
  const TempFolder folder;
  const Writer writer = GgufWriter::Create(*PosixFileSystem(), folder.File("m.gguf"), entries, {});
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->Finish().ok());
  const auto reader = GgufReader::Open(*PosixFileSystem(), folder.File("m.gguf"));
  ASSERT_TRUE(reader.ok()) << reader.status();
  const GgufMetadata& metadata = (*reader)->metadata();
  ASSERT_EQ(metadata.size(), static_cast<int64_t>(entries.size()));
  for (size_t i = 0; i < entries.size(); ++i) {
    SCOPED_TRACE(entries[i].key);
    EXPECT_EQ(metadata.keys()[i], entries[i].key);
    ExpectSame(*metadata.Find(entries[i].key), entries[i].value);
  }
}

// Against bytes put together by hand, as the specification has them.
TEST(GgufWriterTest, TheHeaderIsTheSpecifications) {
  const TempFolder folder;
  const Writer writer = GgufWriter::Create(
      *PosixFileSystem(), folder.File("m.gguf"), {Number("one", 7), Text("two", "x")},
      {{"first", DType::kBF16, {3, 5}}, {"second", DType::kQ8_0, {32}}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->AppendFloats("first", std::vector<float>(15)).ok());
  ASSERT_TRUE((*writer)->AppendFloats("second", std::vector<float>(32)).ok());
  ASSERT_TRUE((*writer)->Finish().ok());
  std::string wanted = absl::StrCat(
      "GGUF", Bytes<uint32_t>(3), Bytes<uint64_t>(2), Bytes<uint64_t>(2),               //
      GgufString("one"), Bytes<uint32_t>(4), Bytes<uint32_t>(7),                        //
      GgufString("two"), Bytes<uint32_t>(8), GgufString("x"),                           //
      GgufString("first"), Bytes<uint32_t>(2), Bytes<uint64_t>(5), Bytes<uint64_t>(3),  //
      Bytes<uint32_t>(30), Bytes<uint64_t>(0),                                          //
      GgufString("second"), Bytes<uint32_t>(1), Bytes<uint64_t>(32),                    //
      Bytes<uint32_t>(8), Bytes<uint64_t>(32));
  while (wanted.size() % 32 != 0) wanted += '\0';
  wanted.append(32 + 64, '\0');  // 30 and 34 bytes, padded
  EXPECT_EQ(folder.Read("m.gguf"), wanted);
}

// Whatever change of the disk fails: an error, and an empty folder.
TEST(GgufWriterTest, AFailureLeavesNothingBehind) {
  for (const bool for_good : {false, true}) {
    int failures = 0;
    for (int n = 1;; ++n) {
      const TempFolder folder;
      FaultyFileSystem faulty(n, absl::ResourceExhaustedError("disk full"), for_good);
      absl::Status status;
      {
        const Writer writer = Create(faulty, folder);
        status = writer.ok() ? WriteRows(**writer) : writer.status();
        if (writer.ok() && !status.ok()) {
          EXPECT_EQ((*writer)->Finish(), status) << "the first error stays";
        }
      }
      EXPECT_EQ(status.ok(), faulty.changes() < n);
      if (status.ok()) break;
      EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("disk full"));
      ++failures;
      EXPECT_EQ(folder.Count(), 0) << "change " << n << ": " << status;
    }
    // Create, header, sync and rename; 27 rows; padding behind all tensors but "e.f32".
    EXPECT_EQ(failures, 4 + 27 + 5);
  }
}

TEST(GgufWriterTest, AWriterThatIsGivenUpLeavesNothingBehind) {
  const TempFolder folder;
  {
    const Writer writer = Create(*PosixFileSystem(), folder);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->AppendFloats("a.f32", std::vector<float>(10)).ok());
    EXPECT_THAT(*PosixFileSystem()->List(folder.path()), ElementsAre("m.gguf.tmp"));
  }
  EXPECT_EQ(folder.Count(), 0);
}

TEST(GgufWriterTest, RowsComeInTheDeclaredOrder) {
  const std::vector<float> row(5);
  const std::function<absl::Status(GgufWriter&)> mistakes[] = {
      [&](GgufWriter& w) { return w.AppendFloats("b.bf16", row); },
      [&](GgufWriter& w) { return w.AppendFloats("unknown", row); },
      [&](GgufWriter& w) { return w.AppendFloats("a.f32", absl::MakeConstSpan(row).first(4)); },
      [&](GgufWriter& w) { return w.AppendFloats("a.f32", std::vector<float>(20)); },
      [&](GgufWriter& w) {
        return w.Append("a.f32", {row.data(), DType::kBF16, {1, 5}});
      },
      [&](GgufWriter& w) { return w.Finish(); },
  };
  for (const auto& mistake : mistakes) {
    const TempFolder folder;
    const Writer writer = Create(*PosixFileSystem(), folder);
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE((*writer)->AppendFloats("a.f32", row).ok());
    const absl::Status status = mistake(**writer);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_EQ((*writer)->AppendFloats("a.f32", row), status);
    EXPECT_EQ(folder.Count(), 0);
  }
}

TEST(GgufWriterTest, RefusesWhatTheFormatCannotHold) {
  const TempFolder folder;
  const auto refused = [&](std::vector<GgufEntry> entries, std::vector<TensorInfo> infos) {
    return std::string(
        GgufWriter::Create(*PosixFileSystem(), folder.File("m.gguf"), entries, std::move(infos))
            .status()
            .message());
  };
  EXPECT_THAT(refused({Number("", 1)}, {}), HasSubstr("cannot be the key"));
  EXPECT_THAT(refused({Number("a b", 1)}, {}), HasSubstr("\"a b\""));
  EXPECT_THAT(refused({Number("x", 1), Text("x", "")}, {}), HasSubstr("x is there twice"));
  EXPECT_THAT(refused({Number("general.alignment", 64)}, {}), HasSubstr("multiples of 32"));
  EXPECT_THAT(refused({}, {{"x", DType::kF32, {1}}, {"x", DType::kF32, {1}}}),
              HasSubstr("declared twice"));
  EXPECT_THAT(refused({}, {{"", DType::kF32, {1}}}), HasSubstr("cannot be the name"));
  EXPECT_THAT(refused({}, {{std::string(65, 'x'), DType::kF32, {1}}}), HasSubstr("1 to 64"));
  EXPECT_THAT(refused({}, {{"x", DType::kQ8_0, {3, 48}}}), HasSubstr("not a multiple of 32"));
  EXPECT_THAT(refused({}, {{"x", DType::kF32, {0, 4}}}), HasSubstr("[0, 4]"));
  EXPECT_THAT(refused({}, {{"x", DType::kF32, {int64_t{1} << 40, int64_t{1} << 40}}}),
              HasSubstr("too large"));
  EXPECT_THAT(refused({}, {{"x", DType::kF32, {int64_t{1} << 50}}}), HasSubstr("the disk has"));
  EXPECT_EQ(folder.Count(), 0);
}

TEST(GgufWriterTest, NeverTouchesAnotherModel) {
  const TempFolder folder;
  folder.Write("m.gguf", "precious");
  const absl::Status status = Create(*PosixFileSystem(), folder).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("m.gguf"));
  EXPECT_EQ(folder.Read("m.gguf"), "precious");
}

}  // namespace
}  // namespace transmla
