#include "engine/format/gguf_parser.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/format/limits.h"

namespace transmla {
namespace {

// The least bytes of an element in an array of strings (its length) and of arrays (type and count),
// of a metadata entry (key length, type, one byte) and of a tensor info (name length, dimension
// count, one dimension, type, offset).
constexpr uint64_t kLeastStringBytes = 8;
constexpr uint64_t kLeastArrayBytes = 12;
constexpr uint64_t kLeastEntryBytes = 13;
constexpr uint64_t kLeastTensorInfoBytes = 32;

// Keys and tensor names are shown in messages and logs: printable ASCII only.
bool IsPrintable(absl::string_view name) {
  return std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
}

class Parser {
 public:
  Parser(const std::string& path, absl::string_view file)
      : path_(path), file_(file), contents_(path) {}

  absl::StatusOr<GgufContents> Parse() {
    RETURN_IF_ERROR(ParseHeader());
    RETURN_IF_ERROR(ParseMetadata());
    RETURN_IF_ERROR(CheckGeneralKeys());
    RETURN_IF_ERROR(ParseTensorInfos());
    RETURN_IF_ERROR(PlaceTensors());
    return std::move(contents_);
  }

 private:
  uint64_t left() const { return file_.size() - position_; }

  absl::Status Invalid(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", what));
  }

  absl::Status Truncated(absl::string_view field, uint64_t wanted) const {
    return absl::OutOfRangeError(absl::StrCat(path_, ": ", field, " at byte ", position_, " needs ",
                                              wanted, " bytes but the file has ", file_.size(),
                                              "; the download is probably truncated"));
  }

  // A count that what is left of the file cannot hold.
  absl::Status Announced(absl::string_view field, uint64_t count, uint64_t least_bytes) const {
    return absl::OutOfRangeError(absl::StrCat(
        path_, ": ", field, " is ", count, ", which takes at least ", least_bytes, " bytes, but ",
        left(), " of the file's ", file_.size(), " are left; the download is probably truncated"));
  }

  template <typename T>
  absl::Status ReadScalar(absl::string_view field, T& value) {
    if (left() < sizeof(T)) return Truncated(field, sizeof(T));
    std::memcpy(&value, file_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return absl::OkStatus();
  }

  absl::Status ReadString(absl::string_view field, int64_t limit, absl::string_view& text) {
    uint64_t length = 0;
    RETURN_IF_ERROR(ReadScalar(absl::StrCat("length of ", field), length));
    if (length > static_cast<uint64_t>(limit)) {
      return Invalid(
          absl::StrCat(field, " has ", length, " bytes, more than the limit of ", limit));
    }
    if (length > left()) return Truncated(field, length);
    text = file_.substr(position_, length);
    position_ += length;
    return absl::OkStatus();
  }

  // A count of things of at least `least_bytes` each, all of which must still fit into the file.
  absl::Status ReadCount(absl::string_view field, int64_t limit, uint64_t least_bytes,
                         int64_t& count) {
    uint64_t value = 0;
    RETURN_IF_ERROR(ReadScalar(field, value));
    if (value > static_cast<uint64_t>(limit)) {
      return Invalid(absl::StrCat(field, " is ", value, ", more than the limit of ", limit));
    }
    if (value * least_bytes > left()) return Announced(field, value, value * least_bytes);
    count = static_cast<int64_t>(value);
    return absl::OkStatus();
  }

  absl::Status ParseHeader();
  absl::Status ParseMetadata();
  absl::Status ParseValue(absl::string_view key, GgufType type, int depth, GgufValue& value);
  absl::Status ParseArray(absl::string_view key, int depth, GgufArray& array);
  absl::Status CheckGeneralKeys();
  absl::Status ParseTensorInfos();
  absl::Status ParseTensorInfo(int64_t index, GgufTensor& tensor);
  absl::Status ParseDimensions(GgufTensor& tensor, uint32_t& ggml_type);
  absl::Status PlaceTensors();

  const std::string& path_;
  const absl::string_view file_;
  uint64_t position_ = 0;
  int64_t tensor_count_ = 0;
  int64_t metadata_count_ = 0;
  int64_t nested_elements_ = 0;
  GgufContents contents_;
};

absl::Status Parser::ParseHeader() {
  if (file_.substr(0, kGgufMagic.size()) != kGgufMagic) {
    return Invalid(absl::StrCat("does not start with \"GGUF\" but with \"",
                                absl::CHexEscape(file_.substr(0, kGgufMagic.size())), "\""));
  }
  position_ = kGgufMagic.size();
  RETURN_IF_ERROR(ReadScalar("version", contents_.version));
  if (contents_.version == 0x02000000 || contents_.version == 0x03000000) {
    return absl::UnimplementedError(absl::StrCat(
        path_, ": big-endian GGUF files are not supported; convert it to little endian"));
  }
  if (contents_.version == 1) {
    return absl::UnimplementedError(absl::StrCat(
        path_, ": GGUF version 1 is not supported; convert the model anew to version 3"));
  }
  if (contents_.version != 2 && contents_.version != 3) {
    return Invalid(absl::StrCat("GGUF version is ", contents_.version, "; supported are 2 and 3"));
  }
  uint64_t tensor_count = 0;
  RETURN_IF_ERROR(ReadScalar("tensor count", tensor_count));
  RETURN_IF_ERROR(
      ReadCount("metadata count", kMaxGgufMetadataEntries, kLeastEntryBytes, metadata_count_));
  if (tensor_count > static_cast<uint64_t>(kMaxTensors)) {
    return Invalid(
        absl::StrCat("tensor count is ", tensor_count, ", more than the limit of ", kMaxTensors));
  }
  tensor_count_ = static_cast<int64_t>(tensor_count);
  return absl::OkStatus();
}

absl::Status Parser::ParseMetadata() {
  for (int64_t i = 0; i < metadata_count_; ++i) {
    absl::string_view key;
    RETURN_IF_ERROR(ReadString(absl::StrCat("metadata key ", i), kMaxGgufKeyBytes, key));
    if (key.empty() || !IsPrintable(key)) {
      return Invalid(absl::StrCat("metadata key ", i, " is \"", absl::CHexEscape(key.substr(0, 64)),
                                  "\"; keys are printable ASCII without spaces"));
    }
    uint32_t type = 0;
    RETURN_IF_ERROR(ReadScalar(absl::StrCat("type of metadata ", key), type));
    GgufValue value;
    RETURN_IF_ERROR(ParseValue(key, static_cast<GgufType>(type), 0, value));
    if (!contents_.metadata.Insert(key, std::move(value))) {
      return Invalid(absl::StrCat("metadata key ", key, " occurs twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status Parser::ParseValue(absl::string_view key, GgufType type, int depth, GgufValue& value) {
  const std::string field = absl::StrCat("metadata ", key);
  value.type = type;
  const auto read = [&]<typename Stored, typename Kept>(Stored stored, Kept) {
    RETURN_IF_ERROR(ReadScalar(field, stored));
    value.value = static_cast<Kept>(stored);
    return absl::OkStatus();
  };
  switch (type) {
    case GgufType::kUint8:
      return read(uint8_t{}, uint64_t{});
    case GgufType::kUint16:
      return read(uint16_t{}, uint64_t{});
    case GgufType::kUint32:
      return read(uint32_t{}, uint64_t{});
    case GgufType::kUint64:
      return read(uint64_t{}, uint64_t{});
    case GgufType::kInt8:
      return read(int8_t{}, int64_t{});
    case GgufType::kInt16:
      return read(int16_t{}, int64_t{});
    case GgufType::kInt32:
      return read(int32_t{}, int64_t{});
    case GgufType::kInt64:
      return read(int64_t{}, int64_t{});
    case GgufType::kFloat32:
      return read(float{}, double{});
    case GgufType::kFloat64:
      return read(double{}, double{});
    case GgufType::kBool: {
      uint8_t stored = 0;
      RETURN_IF_ERROR(ReadScalar(field, stored));
      if (stored > 1) {
        return Invalid(absl::StrCat(field, " is the bool ", stored, "; only 0 and 1 are"));
      }
      value.value = stored == 1;
      return absl::OkStatus();
    }
    case GgufType::kString: {
      absl::string_view text;
      RETURN_IF_ERROR(ReadString(field, kMaxGgufStringBytes, text));
      value.value = text;
      return absl::OkStatus();
    }
    case GgufType::kArray:
      return ParseArray(key, depth, value.value.emplace<GgufArray>());
  }
  return Invalid(absl::StrCat(field, " has type ", static_cast<uint32_t>(type),
                              ", which the format does not define (0 to 12)"));
}

absl::Status Parser::ParseArray(absl::string_view key, int depth, GgufArray& array) {
  const std::string field = absl::StrCat("metadata ", key);
  if (depth >= kMaxGgufArrayDepth) {
    return Invalid(absl::StrCat(field, " nests arrays deeper than ", kMaxGgufArrayDepth));
  }
  uint32_t type = 0;
  RETURN_IF_ERROR(ReadScalar(absl::StrCat("element type of ", field), type));
  array.element_type = static_cast<GgufType>(type);
  const int scalar_bytes = GgufScalarBytes(array.element_type);
  uint64_t least_bytes = static_cast<uint64_t>(scalar_bytes);
  if (array.element_type == GgufType::kString) {
    least_bytes = kLeastStringBytes;
  } else if (array.element_type == GgufType::kArray) {
    least_bytes = kLeastArrayBytes;
  } else if (scalar_bytes == 0) {
    return Invalid(absl::StrCat(field, " has elements of type ", type,
                                ", which the format does not define (0 to 12)"));
  }
  RETURN_IF_ERROR(ReadCount(absl::StrCat("element count of ", field), kMaxGgufArrayElements,
                            least_bytes, array.count));
  if (scalar_bytes != 0) {
    const auto bytes = static_cast<uint64_t>(array.count) * least_bytes;
    array.scalars = file_.substr(position_, bytes);
    position_ += bytes;
    return absl::OkStatus();
  }
  if (array.element_type == GgufType::kString) {
    array.strings.resize(static_cast<size_t>(array.count));
    for (absl::string_view& text : array.strings) {
      RETURN_IF_ERROR(ReadString(absl::StrCat("an element of ", field), kMaxGgufStringBytes, text));
    }
    return absl::OkStatus();
  }
  nested_elements_ += array.count;
  if (nested_elements_ > kMaxGgufNestedArrays) {
    return Invalid(
        absl::StrCat(field, " holds more than the limit of ", kMaxGgufNestedArrays, " arrays"));
  }
  array.nested.resize(static_cast<size_t>(array.count));
  for (GgufValue& element : array.nested) {
    RETURN_IF_ERROR(ParseValue(key, GgufType::kArray, depth + 1, element));
  }
  return absl::OkStatus();
}

absl::Status Parser::CheckGeneralKeys() {
  const GgufMetadata& metadata = contents_.metadata;
  if (metadata.Has("general.alignment")) {
    ASSIGN_OR_RETURN(contents_.alignment,
                     metadata.GetInt("general.alignment", 1, kMaxGgufAlignment));
    if (contents_.alignment % 8 != 0 || (contents_.alignment & (contents_.alignment - 1)) != 0) {
      return Invalid(absl::StrCat("metadata general.alignment is ", contents_.alignment,
                                  "; it must be a power of two and a multiple of 8"));
    }
  }
  if (metadata.Has("split.count")) {
    ASSIGN_OR_RETURN(const int64_t parts, metadata.GetInt("split.count", 0, 1 << 16));
    if (parts > 1) {
      return absl::UnimplementedError(
          absl::StrCat(path_, ": is one of ", parts,
                       " parts of a model; merge them first (llama-gguf-split --merge)"));
    }
  }
  return absl::OkStatus();
}

absl::Status Parser::ParseTensorInfos() {
  const auto count = static_cast<uint64_t>(tensor_count_);
  if (count * kLeastTensorInfoBytes > left()) {
    return Announced("tensor count", count, count * kLeastTensorInfoBytes);
  }
  contents_.tensors.resize(static_cast<size_t>(tensor_count_));
  absl::flat_hash_set<absl::string_view> names;
  for (int64_t i = 0; i < tensor_count_; ++i) {
    GgufTensor& tensor = contents_.tensors[static_cast<size_t>(i)];
    RETURN_IF_ERROR(ParseTensorInfo(i, tensor));
    if (!names.insert(tensor.info.name).second) {
      return Invalid(absl::StrCat("tensor ", tensor.info.name, " occurs twice"));
    }
  }
  return absl::OkStatus();
}

absl::Status Parser::ParseTensorInfo(int64_t index, GgufTensor& tensor) {
  absl::string_view name;
  RETURN_IF_ERROR(
      ReadString(absl::StrCat("name of tensor ", index), kMaxGgufTensorNameBytes, name));
  if (name.empty() || !IsPrintable(name)) {
    return Invalid(absl::StrCat("name of tensor ", index, " is \"", absl::CHexEscape(name),
                                "\"; names are printable ASCII without spaces"));
  }
  tensor.info.name = std::string(name);
  uint32_t ggml_type = 0;
  RETURN_IF_ERROR(ParseDimensions(tensor, ggml_type));
  uint64_t offset = 0;
  RETURN_IF_ERROR(ReadScalar(absl::StrCat("offset of tensor ", name), offset));
  if (offset % static_cast<uint64_t>(contents_.alignment) != 0) {
    return Invalid(absl::StrCat("tensor ", name, " has offset ", offset,
                                ", not a multiple of the alignment ", contents_.alignment));
  }
  // Offsets count from the end of the header, which is not known yet (PlaceTensors).
  if (offset > file_.size()) {
    return absl::OutOfRangeError(absl::StrCat(path_, ": tensor ", name, " has offset ", offset,
                                              " but the file has ", file_.size(),
                                              " bytes; the download is probably truncated"));
  }
  tensor.offset = static_cast<int64_t>(offset);
  return absl::OkStatus();
}

absl::Status Parser::ParseDimensions(GgufTensor& tensor, uint32_t& ggml_type) {
  const std::string& name = tensor.info.name;
  uint32_t rank = 0;
  RETURN_IF_ERROR(ReadScalar(absl::StrCat("dimension count of tensor ", name), rank));
  if (rank < 1 || rank > Shape::kMaxRank) {
    return Invalid(absl::StrCat("tensor ", name, " has ", rank, " dimensions; supported are 1 to ",
                                Shape::kMaxRank));
  }
  // The file lists the innermost dimension first.
  int64_t dims[Shape::kMaxRank] = {};
  int64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    uint64_t dim = 0;
    RETURN_IF_ERROR(ReadScalar(absl::StrCat("dimensions of tensor ", name), dim));
    const std::optional<int64_t> product = dim >= 1 && dim <= static_cast<uint64_t>(INT64_MAX)
                                               ? CheckedMul(elements, static_cast<int64_t>(dim))
                                               : std::nullopt;
    if (!product.has_value()) {
      return Invalid(absl::StrCat("tensor ", name, " has a dimension of ", dim,
                                  "; the product of all must be 1 to 2^63 - 1"));
    }
    elements = *product;
    dims[rank - 1 - i] = static_cast<int64_t>(dim);
  }
  RETURN_IF_ERROR(ReadScalar(absl::StrCat("type of tensor ", name), ggml_type));
  const std::optional<DType> dtype = DTypeFromGguf(ggml_type);
  if (!dtype.has_value()) {
    return absl::UnimplementedError(
        absl::StrCat(path_, ": tensor ", name, " is stored as ", GgufTensorTypeName(ggml_type),
                     "; supported are F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K"));
  }
  const DTypeTraits& traits = TraitsOf(*dtype);
  const int64_t cols = dims[rank - 1];
  if (cols % traits.block_elements != 0) {
    return Invalid(absl::StrCat("tensor ", name, " has rows of ", cols, " elements of type ",
                                traits.name, ", not a multiple of ", traits.block_elements));
  }
  const std::optional<int64_t> bytes =
      CheckedMul<int64_t>(elements / traits.block_elements, traits.block_bytes);
  if (!bytes.has_value()) {
    return Invalid(absl::StrCat("tensor ", name, " has ", elements, " elements, too many"));
  }
  tensor.info.dtype = *dtype;
  tensor.info.shape = Shape(absl::MakeConstSpan(dims, rank));
  tensor.bytes = *bytes;
  return absl::OkStatus();
}

absl::Status Parser::PlaceTensors() {
  // Both fit: the position is inside the file, alignments are small.
  const int64_t data_begin = AlignUp(static_cast<int64_t>(position_), contents_.alignment);
  const auto file_bytes = static_cast<int64_t>(file_.size());
  std::vector<const GgufTensor*> by_offset;
  by_offset.reserve(contents_.tensors.size());
  for (GgufTensor& tensor : contents_.tensors) {
    tensor.offset += data_begin;
    if (tensor.offset > file_bytes || tensor.bytes > file_bytes - tensor.offset) {
      return absl::OutOfRangeError(absl::StrCat(
          path_, ": tensor ", tensor.info.name, " has ", tensor.bytes, " bytes at byte ",
          tensor.offset, " but the file has ", file_bytes, "; the download is probably truncated"));
    }
    by_offset.push_back(&tensor);
  }
  std::sort(by_offset.begin(), by_offset.end(),
            [](const GgufTensor* a, const GgufTensor* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const GgufTensor& previous = *by_offset[i - 1];
    if (previous.offset + previous.bytes > by_offset[i]->offset) {
      return Invalid(absl::StrCat("tensors ", previous.info.name, " and ", by_offset[i]->info.name,
                                  " overlap at byte ", by_offset[i]->offset));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufContents> ParseGguf(const std::string& path, absl::string_view file) {
  return Parser(path, file).Parse();
}

}  // namespace transmla
