// The bytes of a GGUF file before its tensors' data: the inverse of gguf_parser.h.
#ifndef TRANSMLA_ENGINE_FORMAT_GGUF_HEADER_H_
#define TRANSMLA_ENGINE_FORMAT_GGUF_HEADER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/format/checkpoint.h"
#include "engine/format/gguf.h"

namespace transmla {

struct GgufHeader {
  std::string bytes;       // padded: the data follows at once
  int64_t data_bytes = 0;  // of all tensors, each padded to the alignment
};

// Tensors lie one after the other in their order, each at a multiple of kGgufDefaultAlignment.
// Errors as GgufWriter::Create, but for those of the disk.
absl::StatusOr<GgufHeader> EncodeGgufHeader(absl::Span<const GgufEntry> metadata,
                                            absl::Span<const TensorInfo> tensors);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_GGUF_HEADER_H_
