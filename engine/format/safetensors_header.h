// ParseSafetensorsHeader: the bytes of a .safetensors file as tensor positions, everything checked.
//
// Source: the safetensors format (huggingface/safetensors, README "Format"): u64 little-endian
// header length, a JSON object {"name": {"dtype", "shape", "data_offsets": [begin, end]},
// "__metadata__": {string: string}}, then the data. Takes bytes, not a file, so that tests and the
// fuzzer need no disk.
#ifndef TRANSMLA_ENGINE_FORMAT_SAFETENSORS_HEADER_H_
#define TRANSMLA_ENGINE_FORMAT_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/format/checkpoint.h"

namespace transmla {

struct SafetensorsEntry {
  TensorInfo info;
  int64_t offset = 0;  // from the file's start; a multiple of the element's size
  int64_t bytes = 0;
};

// By offset. Tensors cover the data without hole or overlap, as the format demands.
// `path` is for messages. Returns InvalidArgument for a file that breaks the format or a limit
// (limits.h), OutOfRange for one that ends too early, Unimplemented for element types that this
// engine does not know.
absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(const std::string& path,
                                                                     absl::string_view file);

// The format's name of a type ("F32", "BF16"); empty if it has none.
absl::string_view SafetensorsDTypeName(DType dtype);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_SAFETENSORS_HEADER_H_
