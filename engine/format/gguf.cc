#include "engine/format/gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace transmla {
namespace {

template <typename T>
T LoadLittleEndian(const char* p) {
  T value{};
  std::memcpy(&value, p, sizeof(T));
  return value;
}

std::string TypeInWords(const GgufValue& value) {
  if (const auto* array = std::get_if<GgufArray>(&value.value)) {
    return absl::StrCat("array of ", array->count, " ", GgufTypeName(array->element_type));
  }
  return std::string(GgufTypeName(value.type));
}

// Element i of an array of scalars as an integer; nothing if it does not fit into int64.
std::optional<int64_t> IntegerAt(const GgufArray& array, int64_t i) {
  const char* p = array.scalars.data() + i * GgufScalarBytes(array.element_type);
  switch (array.element_type) {
    case GgufType::kUint8:
    case GgufType::kBool:
      return LoadLittleEndian<uint8_t>(p);
    case GgufType::kInt8:
      return LoadLittleEndian<int8_t>(p);
    case GgufType::kUint16:
      return LoadLittleEndian<uint16_t>(p);
    case GgufType::kInt16:
      return LoadLittleEndian<int16_t>(p);
    case GgufType::kUint32:
      return LoadLittleEndian<uint32_t>(p);
    case GgufType::kInt32:
      return LoadLittleEndian<int32_t>(p);
    case GgufType::kInt64:
      return LoadLittleEndian<int64_t>(p);
    case GgufType::kUint64: {
      const auto value = LoadLittleEndian<uint64_t>(p);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

bool IsIntegerType(GgufType type) {
  return GgufScalarBytes(type) != 0 && type != GgufType::kFloat32 && type != GgufType::kFloat64;
}

struct TensorType {
  absl::string_view name;
  std::optional<DType> dtype;
};

// By number; the empty names are numbers that the specification has retired.
constexpr std::array<TensorType, 31> kTensorTypes = {{
    {"F32", DType::kF32},      {"F16", DType::kF16},      {"Q4_0", DType::kQ4_0},
    {"Q4_1", DType::kQ4_1},    {"Q4_2", std::nullopt},    {"Q4_3", std::nullopt},
    {"Q5_0", DType::kQ5_0},    {"Q5_1", DType::kQ5_1},    {"Q8_0", DType::kQ8_0},
    {"Q8_1", std::nullopt},    {"Q2_K", DType::kQ2_K},    {"Q3_K", DType::kQ3_K},
    {"Q4_K", DType::kQ4_K},    {"Q5_K", DType::kQ5_K},    {"Q6_K", DType::kQ6_K},
    {"Q8_K", std::nullopt},    {"IQ2_XXS", std::nullopt}, {"IQ2_XS", std::nullopt},
    {"IQ3_XXS", std::nullopt}, {"IQ1_S", std::nullopt},   {"IQ4_NL", std::nullopt},
    {"IQ3_S", std::nullopt},   {"IQ2_S", std::nullopt},   {"IQ4_XS", std::nullopt},
    {"I8", DType::kI8},        {"I16", DType::kI16},      {"I32", DType::kI32},
    {"I64", DType::kI64},      {"F64", DType::kF64},      {"IQ1_M", std::nullopt},
    {"BF16", DType::kBF16},
}};

}  // namespace

absl::string_view GgufTypeName(GgufType type) {
  static constexpr std::array<absl::string_view, 13> kNames = {
      "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
      "bool",  "string", "array",  "uint64", "int64",  "float64"};
  const auto index = static_cast<uint32_t>(type);
  return index < kNames.size() ? kNames[index] : "unknown";
}

int GgufScalarBytes(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    default:
      return 0;
  }
}

std::optional<DType> DTypeFromGguf(uint32_t ggml_type) {
  return ggml_type < kTensorTypes.size() ? kTensorTypes[ggml_type].dtype : std::nullopt;
}

uint32_t GgufFromDType(DType dtype) {
  const auto it = std::find_if(kTensorTypes.begin(), kTensorTypes.end(),
                               [&](const TensorType& type) { return type.dtype == dtype; });
  CHECK(it != kTensorTypes.end());
  return static_cast<uint32_t>(it - kTensorTypes.begin());
}

std::string GgufTensorTypeName(uint32_t ggml_type) {
  if (ggml_type < kTensorTypes.size()) return std::string(kTensorTypes[ggml_type].name);
  return absl::StrCat("type ", ggml_type);
}

bool GgufMetadata::Insert(absl::string_view key, GgufValue value) {
  if (!values_.try_emplace(key, std::move(value)).second) return false;
  keys_.push_back(key);
  return true;
}

const GgufValue* GgufMetadata::Find(absl::string_view key) const {
  const auto it = values_.find(key);
  return it == values_.end() ? nullptr : &it->second;
}

absl::StatusOr<const GgufValue*> GgufMetadata::Require(absl::string_view key) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) {
    return absl::NotFoundError(absl::StrCat(path_, ": metadata has no key ", key));
  }
  return value;
}

absl::Status GgufMetadata::WrongType(absl::string_view key, const GgufValue& value,
                                     absl::string_view wanted) const {
  return absl::InvalidArgumentError(
      absl::StrCat(path_, ": metadata ", key, " is ", TypeInWords(value), ", not ", wanted));
}

absl::StatusOr<int64_t> GgufMetadata::GetInt(absl::string_view key, int64_t least,
                                             int64_t most) const {
  ASSIGN_OR_RETURN(const GgufValue* found, Require(key));
  std::string shown;
  if (const auto* value = std::get_if<uint64_t>(&found->value)) {
    if (most >= 0 && *value <= static_cast<uint64_t>(most)) {
      const auto fits = static_cast<int64_t>(*value);
      if (fits >= least) return fits;
    }
    shown = absl::StrCat(*value);
  } else if (const auto* signed_value = std::get_if<int64_t>(&found->value)) {
    if (*signed_value >= least && *signed_value <= most) return *signed_value;
    shown = absl::StrCat(*signed_value);
  } else {
    return WrongType(key, *found, "an integer");
  }
  return absl::InvalidArgumentError(
      absl::StrCat(path_, ": metadata ", key, " is ", shown, ", outside ", least, " to ", most));
}

absl::StatusOr<double> GgufMetadata::GetFloat(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* found, Require(key));
  if (const auto* value = std::get_if<uint64_t>(&found->value)) return static_cast<double>(*value);
  if (const auto* value = std::get_if<int64_t>(&found->value)) return static_cast<double>(*value);
  const auto* value = std::get_if<double>(&found->value);
  if (value == nullptr) return WrongType(key, *found, "a number");
  if (!std::isfinite(*value)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": metadata ", key, " is ", *value, ", not a finite number"));
  }
  return *value;
}

absl::StatusOr<bool> GgufMetadata::GetBool(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* found, Require(key));
  const auto* value = std::get_if<bool>(&found->value);
  if (value == nullptr) return WrongType(key, *found, "bool");
  return *value;
}

absl::StatusOr<absl::string_view> GgufMetadata::GetString(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* found, Require(key));
  const auto* value = std::get_if<absl::string_view>(&found->value);
  if (value == nullptr) return WrongType(key, *found, "string");
  return *value;
}

absl::StatusOr<absl::Span<const absl::string_view>> GgufMetadata::GetStrings(
    absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* found, Require(key));
  const auto* array = std::get_if<GgufArray>(&found->value);
  if (array == nullptr || array->element_type != GgufType::kString) {
    return WrongType(key, *found, "an array of string");
  }
  return absl::MakeConstSpan(array->strings);
}

absl::StatusOr<std::vector<int64_t>> GgufMetadata::GetInts(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* found, Require(key));
  const auto* array = std::get_if<GgufArray>(&found->value);
  if (array == nullptr || !IsIntegerType(array->element_type)) {
    return WrongType(key, *found, "an array of integers");
  }
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(array->count));
  for (int64_t i = 0; i < array->count; ++i) {
    const std::optional<int64_t> value = IntegerAt(*array, i);
    if (!value.has_value()) return WrongType(key, *found, "an array of integers below 2^63");
    values.push_back(*value);
  }
  return values;
}

absl::StatusOr<std::vector<float>> GgufMetadata::GetFloats(absl::string_view key) const {
  ASSIGN_OR_RETURN(const GgufValue* found, Require(key));
  const auto* array = std::get_if<GgufArray>(&found->value);
  if (array == nullptr ||
      (array->element_type != GgufType::kFloat32 && array->element_type != GgufType::kFloat64)) {
    return WrongType(key, *found, "an array of floats");
  }
  std::vector<float> values;
  values.reserve(static_cast<size_t>(array->count));
  for (int64_t i = 0; i < array->count; ++i) {
    values.push_back(
        array->element_type == GgufType::kFloat32
            ? LoadLittleEndian<float>(array->scalars.data() + i * 4)
            : static_cast<float>(LoadLittleEndian<double>(array->scalars.data() + i * 8)));
  }
  return values;
}

}  // namespace transmla
