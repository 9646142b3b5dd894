// GgufWriter: streams a GGUF file (version 3, little endian): metadata, tensor infos, then data.
//
// Metadata and tensors are declared first, so that the header is written before the data; then the
// tensors' rows are appended (tensor_writer.h). The file grows under a temporary name beside its
// own; Finish() syncs and renames it.
//
// Source: the GGUF specification (ggml-org/ggml, docs/gguf.md).
#ifndef TRANSMLA_ENGINE_FORMAT_GGUF_WRITER_H_
#define TRANSMLA_ENGINE_FORMAT_GGUF_WRITER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"
#include "engine/format/gguf.h"
#include "engine/format/tensor_writer.h"

namespace transmla {

// Thread-compatible.
class GgufWriter : public TensorWriter {
 public:
  // Tensors start at multiples of 32 bytes, the format's default. What `metadata` points to is read
  // during the call only. Returns AlreadyExists if `path` is there; InvalidArgument for keys and
  // names that are no printable ASCII, too long or there twice, for general.alignment (the default
  // needs no entry), for empty tensors and for rows that are not whole blocks of their type;
  // ResourceExhausted if the disk has no room. `files` outlives the writer.
  // REQUIRES: each value holds what its type says, as in GgufMetadata.
  static absl::StatusOr<std::unique_ptr<GgufWriter>> Create(FileSystem& files,
                                                            const std::string& path,
                                                            absl::Span<const GgufEntry> metadata,
                                                            std::vector<TensorInfo> tensors);

 private:
  GgufWriter(FileSystem& files, std::string path, std::vector<TensorInfo> tensors);

  absl::Status Open(const std::string& header, int64_t data_bytes);
  absl::Status Write(absl::string_view bytes) override;
  absl::Status Publish() override;
  std::string TemporaryPath() const;

  const std::string path_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_GGUF_WRITER_H_
