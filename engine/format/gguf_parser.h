// ParseGguf: the bytes of a GGUF file as metadata and tensor positions, everything checked.
//
// Takes bytes, not a file, so that tests and the fuzzer need no disk. Nothing is allocated on the
// word of a count: each is first held against the bytes that are left.
#ifndef TRANSMLA_ENGINE_FORMAT_GGUF_PARSER_H_
#define TRANSMLA_ENGINE_FORMAT_GGUF_PARSER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/format/checkpoint.h"
#include "engine/format/gguf.h"

namespace transmla {

struct GgufTensor {
  TensorInfo info;
  int64_t offset = 0;  // from the file's start; a multiple of the alignment
  int64_t bytes = 0;   // [offset, offset + bytes) is inside the file and overlaps no other tensor
};

struct GgufContents {
  explicit GgufContents(std::string path) : metadata(std::move(path)) {}

  uint32_t version = 0;  // 2 or 3
  int64_t alignment = kGgufDefaultAlignment;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in the file's order
};

// `path` is for messages. The result points into `file`.
// Returns InvalidArgument for a file that breaks the format or a limit (limits.h), OutOfRange for
// one that ends too early, Unimplemented for what this engine does not read: version 1, big-endian
// files, split files, other tensor types.
absl::StatusOr<GgufContents> ParseGguf(const std::string& path, absl::string_view file);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_GGUF_PARSER_H_
