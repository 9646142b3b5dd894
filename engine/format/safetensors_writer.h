// SafetensorsWriter: streams a checkpoint's weights into a folder, one shard after the other.
//
// All tensors are declared first, so that each shard's header is written before its data; then
// their rows are appended in the declared order. No more than what the caller appends is in memory.
// Shards grow under temporary names; Finish() syncs and renames them, the index last. If anything
// fails, or the writer is destroyed before Finish(), every file it made is removed: a folder never
// holds half a checkpoint that could be taken for a whole one.
#ifndef TRANSMLA_ENGINE_FORMAT_SAFETENSORS_WRITER_H_
#define TRANSMLA_ENGINE_FORMAT_SAFETENSORS_WRITER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"
#include "engine/format/tensor_queue.h"

namespace transmla {

struct SafetensorsWriterOptions {
  // A shard's data stays within this, unless one tensor alone is larger. Hugging Face's default.
  int64_t max_shard_bytes = 5'000'000'000;
  // The header's __metadata__; readers of transformers expect {"format": "pt"}.
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

// Thread-compatible.
class SafetensorsWriter {
 public:
  // `folder` must exist and hold no model.safetensors, shard or index yet (AlreadyExists). Returns
  // InvalidArgument for duplicate or empty names, empty tensors, types the format cannot hold, and
  // an order in which a tensor would start at an address that its type cannot have;
  // ResourceExhausted if the disk has no room. `files` outlives the writer.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      FileSystem& files, const std::string& folder, std::vector<TensorInfo> tensors,
      SafetensorsWriterOptions options);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // Appends rows, or all, of tensor `name`: type and row length as declared, rows not more than are
  // missing. Returns FailedPrecondition if `name` is not the next unfinished tensor in the declared
  // order or the rows do not fit; after an error every later call returns it again.
  absl::Status Append(absl::string_view name, const TensorView& rows);
  // As Append, for floats that are rounded to the declared type (F32, F16 or BF16), any number of
  // whole rows.
  absl::Status AppendFloats(absl::string_view name, absl::Span<const float> rows);

  // Returns FailedPrecondition if rows are missing; OK when everything is on disk under its final
  // name.
  absl::Status Finish();

 private:
  struct Shard {
    std::string name;  // file name; the temporary one has ".tmp" added
    size_t begin = 0;  // of the declared tensors, [begin, end)
    size_t end = 0;
    int64_t bytes = 0;  // of data
  };

  SafetensorsWriter(FileSystem& files, std::string folder, std::vector<TensorInfo> tensors,
                    SafetensorsWriterOptions options);

  absl::Status Plan();
  absl::Status CheckFolder();
  std::string Header(const Shard& shard) const;
  absl::Status Write(absl::string_view bytes);
  absl::Status OpenShard();
  absl::Status CloseShard();
  absl::Status Publish();
  // Remembers the first error and removes what was written.
  absl::Status Fail(absl::Status status);
  std::string TemporaryPath(const Shard& shard) const;

  FileSystem& files_;
  const std::string folder_;
  TensorQueue queue_;
  const SafetensorsWriterOptions options_;
  std::vector<Shard> shards_;
  int64_t total_bytes_ = 0;

  size_t shard_ = 0;  // shard being written; the one before it is synced
  std::unique_ptr<WritableFile> file_;
  std::vector<std::string> made_;  // paths to remove on failure
  absl::Status status_;
  bool finished_ = false;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_SAFETENSORS_WRITER_H_
