#include "engine/format/gguf_header.h"

#include <algorithm>
#include <optional>
#include <type_traits>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/format/limits.h"

namespace transmla {
namespace {

constexpr uint32_t kVersion = 3;

template <typename T>
void PutScalar(T value, std::string& out) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void PutString(absl::string_view text, std::string& out) {
  PutScalar<uint64_t>(text.size(), out);
  absl::StrAppend(&out, text);
}

// `Kept` is how GgufValue holds a `Stored`.
template <typename Stored, typename Kept>
void PutNumber(const GgufValue& value, std::string& out) {
  const Kept* kept = std::get_if<Kept>(&value.value);
  CHECK(kept != nullptr);
  const auto stored = static_cast<Stored>(*kept);
  if constexpr (std::is_integral_v<Stored>) CHECK_EQ(static_cast<Kept>(stored), *kept);
  PutScalar(stored, out);
}

void PutValue(const GgufValue& value, std::string& out);

void PutArray(const GgufArray& array, std::string& out) {
  PutScalar(static_cast<uint32_t>(array.element_type), out);
  PutScalar(static_cast<uint64_t>(array.count), out);
  if (array.element_type == GgufType::kString) {
    CHECK_EQ(array.count, static_cast<int64_t>(array.strings.size()));
    for (const absl::string_view text : array.strings) PutString(text, out);
  } else if (array.element_type == GgufType::kArray) {
    CHECK_EQ(array.count, static_cast<int64_t>(array.nested.size()));
    for (const GgufValue& nested : array.nested) PutValue(nested, out);
  } else {
    CHECK_EQ(array.count * GgufScalarBytes(array.element_type),
             static_cast<int64_t>(array.scalars.size()));
    absl::StrAppend(&out, array.scalars);
  }
}

// The value without its type.
void PutValue(const GgufValue& value, std::string& out) {
  switch (value.type) {
    case GgufType::kUint8:
      return PutNumber<uint8_t, uint64_t>(value, out);
    case GgufType::kInt8:
      return PutNumber<int8_t, int64_t>(value, out);
    case GgufType::kUint16:
      return PutNumber<uint16_t, uint64_t>(value, out);
    case GgufType::kInt16:
      return PutNumber<int16_t, int64_t>(value, out);
    case GgufType::kUint32:
      return PutNumber<uint32_t, uint64_t>(value, out);
    case GgufType::kInt32:
      return PutNumber<int32_t, int64_t>(value, out);
    case GgufType::kUint64:
      return PutNumber<uint64_t, uint64_t>(value, out);
    case GgufType::kInt64:
      return PutNumber<int64_t, int64_t>(value, out);
    case GgufType::kFloat32:
      return PutNumber<float, double>(value, out);
    case GgufType::kFloat64:
      return PutNumber<double, double>(value, out);
    case GgufType::kBool:
      return PutNumber<uint8_t, bool>(value, out);
    case GgufType::kString: {
      const auto* text = std::get_if<absl::string_view>(&value.value);
      CHECK(text != nullptr);
      return PutString(*text, out);
    }
    case GgufType::kArray: {
      const auto* array = std::get_if<GgufArray>(&value.value);
      CHECK(array != nullptr);
      return PutArray(*array, out);
    }
  }
  CHECK_LE(static_cast<uint32_t>(value.type), static_cast<uint32_t>(GgufType::kFloat64));
}

absl::Status CheckName(absl::string_view what, absl::string_view name, int64_t limit) {
  const bool printable =
      std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c <= '~'; });
  if (!name.empty() && printable && static_cast<int64_t>(name.size()) <= limit) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CHexEscape(name.substr(0, 64)), "\" cannot be the ", what,
                   "; it must be 1 to ", limit, " printable ASCII characters without spaces"));
}

absl::Status PutEntries(absl::Span<const GgufEntry> metadata, std::string& out) {
  absl::flat_hash_set<absl::string_view> keys;
  for (const GgufEntry& entry : metadata) {
    RETURN_IF_ERROR(CheckName("key of a metadata entry", entry.key, kMaxGgufKeyBytes));
    if (!keys.insert(entry.key).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("metadata key ", entry.key, " is there twice"));
    }
    if (entry.key == "general.alignment") {
      return absl::InvalidArgumentError(absl::StrCat("metadata ", entry.key, " cannot be chosen; ",
                                                     "tensors lie at multiples of ",
                                                     kGgufDefaultAlignment));
    }
    PutString(entry.key, out);
    PutScalar(static_cast<uint32_t>(entry.value.type), out);
    PutValue(entry.value, out);
  }
  return absl::OkStatus();
}

// The tensor's bytes, up to the next one's start.
absl::StatusOr<int64_t> PaddedBytes(const TensorInfo& info) {
  const DTypeTraits& traits = TraitsOf(info.dtype);
  std::optional<int64_t> blocks = 1;
  for (const int64_t dim : info.shape.dims()) {
    if (blocks.has_value()) blocks = CheckedMul(*blocks, dim);
  }
  if (!blocks.has_value() || *blocks == 0) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name, " has the shape ",
                                                   info.shape.ToString(),
                                                   ", which is empty or too large"));
  }
  if (info.shape.cols() % traits.block_elements != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", info.name, " has rows of ", info.shape.cols(), " elements, which ",
                     traits.name, " cannot hold: not a multiple of ", traits.block_elements));
  }
  std::optional<int64_t> bytes =
      CheckedMul<int64_t>(*blocks / traits.block_elements, traits.block_bytes);
  if (bytes.has_value()) bytes = CheckedAdd<int64_t>(*bytes, kGgufDefaultAlignment);
  if (!bytes.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name, " is too large"));
  }
  return AlignUp(*bytes - kGgufDefaultAlignment, kGgufDefaultAlignment);
}

absl::Status PutTensors(absl::Span<const TensorInfo> tensors, GgufHeader& header) {
  absl::flat_hash_set<absl::string_view> names;
  std::string& out = header.bytes;
  for (const TensorInfo& info : tensors) {
    RETURN_IF_ERROR(CheckName("name of a tensor", info.name, kMaxGgufTensorNameBytes));
    if (!names.insert(info.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name, " is declared twice"));
    }
    ASSIGN_OR_RETURN(const int64_t bytes, PaddedBytes(info));
    PutString(info.name, out);
    const absl::Span<const int64_t> dims = info.shape.dims();
    PutScalar(static_cast<uint32_t>(dims.size()), out);
    // Innermost first.
    for (auto dim = dims.rbegin(); dim != dims.rend(); ++dim) {
      PutScalar(static_cast<uint64_t>(*dim), out);
    }
    PutScalar(GgufFromDType(info.dtype), out);
    PutScalar(static_cast<uint64_t>(header.data_bytes), out);
    const std::optional<int64_t> total = CheckedAdd(header.data_bytes, bytes);
    if (!total.has_value()) return absl::InvalidArgumentError("the tensors are too large");
    header.data_bytes = *total;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GgufHeader> EncodeGgufHeader(absl::Span<const GgufEntry> metadata,
                                            absl::Span<const TensorInfo> tensors) {
  GgufHeader header;
  header.bytes = std::string(kGgufMagic);
  PutScalar(kVersion, header.bytes);
  PutScalar<uint64_t>(tensors.size(), header.bytes);
  PutScalar<uint64_t>(metadata.size(), header.bytes);
  RETURN_IF_ERROR(PutEntries(metadata, header.bytes));
  RETURN_IF_ERROR(PutTensors(tensors, header));
  header.bytes.resize(AlignUp<size_t>(header.bytes.size(), kGgufDefaultAlignment));
  return header;
}

}  // namespace transmla
