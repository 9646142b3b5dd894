#include "engine/format/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/format/json_check.h"
#include "engine/format/limits.h"

namespace transmla {
namespace {

using nlohmann::json;

constexpr int64_t kLengthBytes = 8;

struct NamedType {
  absl::string_view name;
  DType dtype;
};
constexpr std::array<NamedType, 8> kTypes = {{{"F32", DType::kF32},
                                              {"F16", DType::kF16},
                                              {"BF16", DType::kBF16},
                                              {"F64", DType::kF64},
                                              {"I8", DType::kI8},
                                              {"I16", DType::kI16},
                                              {"I32", DType::kI32},
                                              {"I64", DType::kI64}}};

// One entry of the header. `data_begin` and `data_bytes` say where the data is in the file.
class EntryParser {
 public:
  EntryParser(const std::string& path, int64_t data_begin, int64_t data_bytes)
      : path_(path), data_begin_(data_begin), data_bytes_(data_bytes) {}

  absl::StatusOr<SafetensorsEntry> Parse(const std::string& name, const json& value) {
    name_ = absl::CHexEscape(absl::string_view(name).substr(0, 128));
    if (name.empty() || static_cast<int64_t>(name.size()) > kMaxTensorNameBytes) {
      return Invalid(absl::StrCat("has a name of ", name.size(), " bytes, outside 1 to ",
                                  kMaxTensorNameBytes));
    }
    if (!value.is_object()) return Invalid("is not described by an object");
    for (const auto& [key, unused] : value.items()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        return Invalid(absl::StrCat("has the field \"", absl::CHexEscape(key.substr(0, 64)),
                                    "\", which the format does not define"));
      }
    }
    SafetensorsEntry entry;
    entry.info.name = name;
    RETURN_IF_ERROR(ParseType(value, entry));
    int64_t elements = 1;
    RETURN_IF_ERROR(ParseShape(value, entry, elements));
    RETURN_IF_ERROR(ParseOffsets(value, elements, entry));
    return entry;
  }

 private:
  absl::Status Invalid(absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": tensor ", name_, " ", what));
  }

  absl::Status ParseType(const json& value, SafetensorsEntry& entry) const {
    const auto field = value.find("dtype");
    if (field == value.end() || !field->is_string()) return Invalid("has no string \"dtype\"");
    const auto& text = field->get_ref<const std::string&>();
    const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                   [&](const NamedType& t) { return t.name == text; });
    if (type == kTypes.end()) {
      return absl::UnimplementedError(absl::StrCat(
          path_, ": tensor ", name_, " has dtype \"", absl::CHexEscape(text.substr(0, 32)),
          "\"; supported are F32, F16, BF16, F64, I8, I16, I32 and I64"));
    }
    entry.info.dtype = type->dtype;
    return absl::OkStatus();
  }

  absl::Status ParseShape(const json& value, SafetensorsEntry& entry, int64_t& elements) const {
    const auto field = value.find("shape");
    if (field == value.end() || !field->is_array()) return Invalid("has no array \"shape\"");
    if (field->size() > Shape::kMaxRank) {
      return Invalid(absl::StrCat("has ", field->size(), " dimensions; supported are up to ",
                                  Shape::kMaxRank));
    }
    std::vector<int64_t> dims;
    for (const json& dim : *field) {
      if (!dim.is_number_unsigned() || dim.get<uint64_t>() > uint64_t{INT64_MAX}) {
        return Invalid(absl::StrCat("has the dimension ", dim.dump(-1, ' ', true).substr(0, 32),
                                    "; dimensions are integers from 0 to 2^63 - 1"));
      }
      dims.push_back(dim.get<int64_t>());
      const std::optional<int64_t> product = CheckedMul(elements, dims.back());
      if (!product.has_value()) return Invalid("has more than 2^63 - 1 elements");
      elements = *product;
    }
    entry.info.shape = Shape(absl::MakeConstSpan(dims));
    return absl::OkStatus();
  }

  absl::Status ParseOffsets(const json& value, int64_t elements, SafetensorsEntry& entry) const {
    const auto field = value.find("data_offsets");
    if (field == value.end() || !field->is_array() || field->size() != 2 ||
        !(*field)[0].is_number_unsigned() || !(*field)[1].is_number_unsigned()) {
      return Invalid("has no \"data_offsets\" of two integers");
    }
    const auto begin = (*field)[0].get<uint64_t>();
    const auto end = (*field)[1].get<uint64_t>();
    if (begin > end) {
      return Invalid(absl::StrCat("has data_offsets [", begin, ", ", end, "], end before begin"));
    }
    if (end > static_cast<uint64_t>(data_bytes_)) {
      return absl::OutOfRangeError(absl::StrCat(path_, ": tensor ", name_, " ends at data byte ",
                                                end, " but the file has ", data_bytes_,
                                                " of data; the download is probably truncated"));
    }
    const int element_bytes = TraitsOf(entry.info.dtype).block_bytes;
    const std::optional<int64_t> wanted = CheckedMul<int64_t>(elements, element_bytes);
    entry.bytes = static_cast<int64_t>(end - begin);
    entry.offset = data_begin_ + static_cast<int64_t>(begin);
    if (!wanted.has_value() || *wanted != entry.bytes) {
      return Invalid(absl::StrCat("has ", entry.bytes, " bytes of data, but ",
                                  entry.info.shape.ToString(), " of ", DTypeName(entry.info.dtype),
                                  " takes ", wanted.has_value() ? absl::StrCat(*wanted) : "2^63"));
    }
    if (entry.offset % element_bytes != 0) {
      return Invalid(absl::StrCat("starts at byte ", entry.offset, ", not a multiple of its ",
                                  element_bytes,
                                  "-byte elements; save the file anew with current safetensors"));
    }
    return absl::OkStatus();
  }

  const std::string& path_;
  const int64_t data_begin_;
  const int64_t data_bytes_;
  std::string name_;  // escaped, for messages
};

// The header's text, its length checked.
absl::StatusOr<absl::string_view> HeaderText(const std::string& path, absl::string_view file) {
  const auto file_bytes = static_cast<int64_t>(file.size());
  if (file_bytes < kLengthBytes) {
    return absl::OutOfRangeError(absl::StrCat(
        path, ": has ", file_bytes, " bytes; a safetensors file has at least 8; the download is ",
        "probably truncated"));
  }
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  if (length > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": header length is ", length, ", more than the limit of ",
                     kMaxSafetensorsHeaderBytes, "; this is probably no safetensors file"));
  }
  if (length > static_cast<uint64_t>(file_bytes - kLengthBytes)) {
    return absl::OutOfRangeError(absl::StrCat(path, ": header of ", length,
                                              " bytes but the file has ", file_bytes,
                                              "; the download is probably truncated"));
  }
  return file.substr(kLengthBytes, length);
}

absl::Status CheckMetadata(const std::string& path, const json& metadata) {
  if (!metadata.is_object() ||
      !std::all_of(metadata.begin(), metadata.end(), [](const json& v) { return v.is_string(); })) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": __metadata__ is not an object of strings"));
  }
  return absl::OkStatus();
}

// Entries sorted by offset must follow each other from the first data byte to the last.
absl::Status CheckCoverage(const std::string& path, const std::vector<SafetensorsEntry>& entries,
                           int64_t data_begin, int64_t file_bytes) {
  int64_t expected = data_begin;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.offset != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", absl::CHexEscape(entry.info.name), " starts at byte ",
                       entry.offset, " but the one before it ends at ", expected,
                       "; tensors must not overlap or leave holes"));
    }
    expected += entry.bytes;
  }
  if (expected != file_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": tensors end at byte ", expected, " but the file has ", file_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(const std::string& path,
                                                                     absl::string_view file) {
  ASSIGN_OR_RETURN(const absl::string_view text, HeaderText(path, file));
  if (text.empty() || text.front() != '{') {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the header does not start with '{'"));
  }
  RETURN_IF_ERROR(CheckJson(absl::StrCat(path, ": header"), text));
  const json header = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (static_cast<int64_t>(header.size()) > kMaxTensors) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": header has ", header.size(), " tensors, more than the limit of ", kMaxTensors));
  }
  const int64_t data_begin = kLengthBytes + static_cast<int64_t>(text.size());
  const auto file_bytes = static_cast<int64_t>(file.size());
  EntryParser parser(path, data_begin, file_bytes - data_begin);
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      RETURN_IF_ERROR(CheckMetadata(path, value));
      continue;
    }
    ASSIGN_OR_RETURN(SafetensorsEntry entry, parser.Parse(name, value));
    entries.push_back(std::move(entry));
  }
  // Empty tensors share their offset with the next one and come before it.
  std::sort(entries.begin(), entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
            });
  RETURN_IF_ERROR(CheckCoverage(path, entries, data_begin, file_bytes));
  return entries;
}

absl::string_view SafetensorsDTypeName(DType dtype) {
  const auto type = std::find_if(kTypes.begin(), kTypes.end(),
                                 [&](const NamedType& t) { return t.dtype == dtype; });
  return type == kTypes.end() ? absl::string_view() : type->name;
}

}  // namespace transmla
