// GgufWriter: streams a GGUF file (version 3, little endian): metadata, tensor infos, then data.
//
// Metadata and tensors are declared first, so that the header is written before the data; then the
// tensors' rows are appended in the declared order. No more than what the caller appends is in
// memory. The file grows under a temporary name beside its own; Finish() syncs and renames it. If
// anything fails, or the writer is destroyed before Finish(), what it wrote is removed.
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
#include "engine/format/tensor_queue.h"

namespace transmla {

// Thread-compatible.
class GgufWriter {
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
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  // Appends rows, or all, of tensor `name`: type and row length as declared, rows not more than are
  // missing. Returns FailedPrecondition if `name` is not the next unfinished tensor in the declared
  // order or the rows do not fit; after an error every later call returns it again.
  absl::Status Append(absl::string_view name, const TensorView& rows);
  // As Append, for floats that are rounded to the declared type (F32, F16, BF16 or Q8_0), any
  // number of whole rows.
  absl::Status AppendFloats(absl::string_view name, absl::Span<const float> rows);

  // Returns FailedPrecondition if rows are missing; OK when everything is on disk under `path`.
  absl::Status Finish();

 private:
  GgufWriter(FileSystem& files, std::string path, std::vector<TensorInfo> tensors);

  absl::Status Open(const std::string& header, int64_t data_bytes);
  absl::Status Write(absl::string_view bytes);
  absl::Status Publish();
  // Remembers the first error and removes what was written.
  absl::Status Fail(absl::Status status);
  std::string TemporaryPath() const;

  FileSystem& files_;
  const std::string path_;
  TensorQueue queue_;
  std::unique_ptr<WritableFile> file_;
  bool renamed_ = false;  // or may be: what lies at path_ is ours
  bool finished_ = false;
  absl::Status status_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_GGUF_WRITER_H_
