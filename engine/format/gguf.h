// GGUF as a format: its constants and the values of its metadata.
//
// Source: the GGUF specification (ggml-org/ggml, docs/gguf.md), versions 2 and 3, little endian. A
// file is a header (magic, version, counts), key/value metadata, tensor infos, padding to
// general.alignment, and the tensors' data.
#ifndef TRANSMLA_ENGINE_FORMAT_GGUF_H_
#define TRANSMLA_ENGINE_FORMAT_GGUF_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/tensor/dtype.h"

namespace transmla {

inline constexpr absl::string_view kGgufMagic = "GGUF";
inline constexpr int64_t kGgufDefaultAlignment = 32;

// The specification's gguf_metadata_value_type.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// "uint8", "string", …; "unknown" for a number that is no type.
absl::string_view GgufTypeName(GgufType type);
// Bytes of one value; 0 for strings, arrays and unknown types.
int GgufScalarBytes(GgufType type);

// The element type of a tensor, from the specification's ggml_type; nothing for types that this
// engine does not read.
std::optional<DType> DTypeFromGguf(uint32_t ggml_type);
// Its inverse: every DType is a ggml_type.
uint32_t GgufFromDType(DType dtype);
// The specification's name of a ggml_type ("IQ4_XS"), or "type 99", for messages.
std::string GgufTensorTypeName(uint32_t ggml_type);

struct GgufValue;

// One array. Exactly one member is filled, by the element type.
struct GgufArray {
  GgufType element_type = GgufType::kUint8;
  int64_t count = 0;
  absl::string_view scalars;  // count little-endian values, unaligned, in the mapped file
  std::vector<absl::string_view> strings;  // in the mapped file
  std::vector<GgufValue> nested;           // arrays
};

// One value. Integers are widened; strings point into the mapped file.
struct GgufValue {
  GgufType type = GgufType::kUint8;
  std::variant<uint64_t, int64_t, double, bool, absl::string_view, GgufArray> value;
};

// One entry of metadata that is to be written.
struct GgufEntry {
  std::string key;
  GgufValue value;
};

// Metadata by key. The getters return NotFound if there is no such key and InvalidArgument if it
// has another type or does not fit, naming file, key, type and value. Strings and arrays live as
// long as the reader that the metadata belongs to. Immutable once filled; thread-safe.
class GgufMetadata {
 public:
  explicit GgufMetadata(std::string path) : path_(std::move(path)) {}

  // Returns false, and changes nothing, if the key exists.
  bool Insert(absl::string_view key, GgufValue value);

  const std::string& path() const { return path_; }
  int64_t size() const { return static_cast<int64_t>(keys_.size()); }
  // In the file's order.
  absl::Span<const absl::string_view> keys() const { return keys_; }

  // Null if there is none.
  const GgufValue* Find(absl::string_view key) const;
  bool Has(absl::string_view key) const { return Find(key) != nullptr; }

  // Any integer type whose value lies in [least, most].
  absl::StatusOr<int64_t> GetInt(absl::string_view key, int64_t least, int64_t most) const;
  // float32, float64 or an integer; finite.
  absl::StatusOr<double> GetFloat(absl::string_view key) const;
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  // Any bytes: the specification says UTF-8, files do not always keep to it.
  absl::StatusOr<absl::string_view> GetString(absl::string_view key) const;
  absl::StatusOr<absl::Span<const absl::string_view>> GetStrings(absl::string_view key) const;
  // Copies an array of any integer or bool type.
  absl::StatusOr<std::vector<int64_t>> GetInts(absl::string_view key) const;
  // Copies an array of float32 or float64.
  absl::StatusOr<std::vector<float>> GetFloats(absl::string_view key) const;

 private:
  absl::StatusOr<const GgufValue*> Require(absl::string_view key) const;
  absl::Status WrongType(absl::string_view key, const GgufValue& value,
                         absl::string_view wanted) const;

  std::string path_;
  std::vector<absl::string_view> keys_;
  absl::flat_hash_map<absl::string_view, GgufValue> values_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_GGUF_H_
