// SafetensorsReader: .safetensors files and the config.json beside them as a checkpoint.
#ifndef TRANSMLA_ENGINE_FORMAT_SAFETENSORS_READER_H_
#define TRANSMLA_ENGINE_FORMAT_SAFETENSORS_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"
#include "engine/format/safetensors_header.h"

namespace transmla {

// Immutable; thread-safe.
class SafetensorsReader : public CheckpointReader {
 public:
  // A folder with config.json and either model.safetensors or model.safetensors.index.json with its
  // shards; generation_config.json is read if it exists. With an index, its weight_map and the
  // shards must agree.
  static absl::StatusOr<std::shared_ptr<const SafetensorsReader>> OpenFolder(
      FileSystem& files, const std::string& folder);
  // One file, with the config.json of its folder.
  static absl::StatusOr<std::shared_ptr<const SafetensorsReader>> OpenFile(FileSystem& files,
                                                                           const std::string& path);

  const std::string& path() const override { return path_; }
  CheckpointFormat format() const override { return CheckpointFormat::kSafetensors; }
  const Config& config() const override { return config_; }
  // Shard by shard, by offset.
  absl::Span<const TensorInfo> tensors() const override { return infos_; }
  absl::StatusOr<TensorView> Tensor(absl::string_view name) const override;
  void ReleasePages() const override {
    for (const std::shared_ptr<const MappedFile>& shard : shards_)
      shard->Advise(0, shard->size(), MappedFile::Access::kDontNeed);
  }

 private:
  struct Place {
    const MappedFile* shard;
    int64_t offset;
    size_t info;  // index in infos_
  };

  explicit SafetensorsReader(std::string path) : path_(std::move(path)) {}

  absl::Status ReadConfig(FileSystem& files, const std::string& folder);
  absl::Status ReadIndex(FileSystem& files, const std::string& folder, const std::string& index);
  // Maps a shard and adds its tensors.
  absl::Status AddShard(FileSystem& files, const std::string& path);

  const std::string path_;
  Config config_;
  std::vector<std::shared_ptr<const MappedFile>> shards_;
  std::vector<TensorInfo> infos_;
  absl::flat_hash_map<std::string, Place> by_name_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_SAFETENSORS_READER_H_
