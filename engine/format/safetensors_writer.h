// SafetensorsWriter: streams a checkpoint's weights into a folder, one shard after the other.
//
// All tensors are declared first, so that each shard's header is written before its data; then
// their rows are appended (tensor_writer.h). Shards grow under temporary names; Finish() syncs and
// renames them, the index last: a folder never holds half a checkpoint that could be taken for a
// whole one.
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
#include "engine/format/tensor_writer.h"

namespace transmla {

struct SafetensorsWriterOptions {
  // A shard's data stays within this, unless one tensor alone is larger. Hugging Face's default.
  int64_t max_shard_bytes = 5'000'000'000;
  // The header's __metadata__; readers of transformers expect {"format": "pt"}.
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
};

// Thread-compatible.
class SafetensorsWriter : public TensorWriter {
 public:
  // `folder` must exist and hold no model.safetensors, shard or index yet (AlreadyExists). Returns
  // InvalidArgument for duplicate or empty names, empty tensors, types the format cannot hold, and
  // an order in which a tensor would start at an address that its type cannot have;
  // ResourceExhausted if the disk has no room. `files` outlives the writer.
  static absl::StatusOr<std::unique_ptr<SafetensorsWriter>> Create(
      FileSystem& files, const std::string& folder, std::vector<TensorInfo> tensors,
      SafetensorsWriterOptions options);

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
  absl::Status Write(absl::string_view bytes) override;
  absl::Status OpenShard();
  absl::Status CloseShard();
  absl::Status Publish() override;
  std::string TemporaryPath(const Shard& shard) const;

  const std::string folder_;
  const SafetensorsWriterOptions options_;
  std::vector<Shard> shards_;
  int64_t total_bytes_ = 0;
  size_t shard_ = 0;  // shard being written; the one before it is synced
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_SAFETENSORS_WRITER_H_
