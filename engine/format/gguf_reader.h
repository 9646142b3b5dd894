// GgufReader: a GGUF file as a checkpoint, and its metadata for the tokenizer.
#ifndef TRANSMLA_ENGINE_FORMAT_GGUF_READER_H_
#define TRANSMLA_ENGINE_FORMAT_GGUF_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"
#include "engine/format/gguf_parser.h"

namespace transmla {

// Immutable; thread-safe.
class GgufReader : public CheckpointReader {
 public:
  // Maps and checks the whole header (gguf_parser.h) and the hyper-parameters (gguf_config.h).
  static absl::StatusOr<std::shared_ptr<const GgufReader>> Open(FileSystem& files,
                                                                const std::string& path);

  const std::string& path() const override { return file_->path(); }
  CheckpointFormat format() const override { return CheckpointFormat::kGguf; }
  const Config& config() const override { return config_; }
  absl::Span<const TensorInfo> tensors() const override { return infos_; }
  absl::StatusOr<TensorView> Tensor(absl::string_view name) const override;
  void ReleasePages() const override {
    file_->Advise(0, file_->size(), MappedFile::Access::kDontNeed);
  }
  void DontNeed(const TensorView& tensor) const override;

  // Strings in it live as long as the reader.
  const GgufMetadata& metadata() const { return contents_.metadata; }

 private:
  GgufReader(std::shared_ptr<const MappedFile> file, GgufContents contents, Config config);

  const std::shared_ptr<const MappedFile> file_;
  const GgufContents contents_;
  const Config config_;
  std::vector<TensorInfo> infos_;
  absl::flat_hash_map<absl::string_view, const GgufTensor*> by_name_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_GGUF_READER_H_
