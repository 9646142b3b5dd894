#include "engine/format/gguf_writer.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/format/gguf_header.h"

namespace transmla {

absl::StatusOr<std::unique_ptr<GgufWriter>> GgufWriter::Create(FileSystem& files,
                                                               const std::string& path,
                                                               absl::Span<const GgufEntry> metadata,
                                                               std::vector<TensorInfo> tensors) {
  if (files.Kind(path) != PathKind::kMissing) {
    return absl::AlreadyExistsError(
        absl::StrCat(path, ": exists; weights are written to a fresh file only"));
  }
  const absl::StatusOr<GgufHeader> header = EncodeGgufHeader(metadata, tensors);
  if (!header.ok()) return Annotate(header.status(), path);
  std::unique_ptr<GgufWriter> writer(new GgufWriter(files, path, std::move(tensors)));
  if (absl::Status status = writer->Open(header->bytes, header->data_bytes); !status.ok()) {
    return writer->Fail(std::move(status));
  }
  return writer;
}

GgufWriter::GgufWriter(FileSystem& files, std::string path, std::vector<TensorInfo> tensors)
    : TensorWriter(files, path, std::move(tensors)), path_(std::move(path)) {}

std::string GgufWriter::TemporaryPath() const { return absl::StrCat(path_, ".tmp"); }

absl::Status GgufWriter::Open(const std::string& header, int64_t data_bytes) {
  ASSIGN_OR_RETURN(const int64_t space, files_.SpaceLeft(ParentFolder(path_)));
  const int64_t header_bytes = static_cast<int64_t>(header.size());
  if (space - header_bytes < data_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(path_, ": ", header_bytes, " bytes of header ",
                                                     "and ", data_bytes, " of weights are needed ",
                                                     "but the disk has ", space, " left"));
  }
  WillMake(TemporaryPath());
  ASSIGN_OR_RETURN(file_, files_.Create(TemporaryPath()));
  return file_->Append(header);
}

absl::Status GgufWriter::Write(absl::string_view bytes) {
  const int64_t tensor_bytes = TensorBytes(queue_.tensors()[queue_.complete()]);
  RETURN_IF_ERROR(file_->Append(bytes));
  if (!queue_.Wrote(static_cast<int64_t>(bytes.size()))) return absl::OkStatus();
  const int64_t padding = AlignUp(tensor_bytes, kGgufDefaultAlignment) - tensor_bytes;
  if (padding == 0) return absl::OkStatus();
  return file_->Append(std::string(static_cast<size_t>(padding), '\0'));
}

absl::Status GgufWriter::Publish() {
  RETURN_IF_ERROR(file_->SyncAndClose());
  file_.reset();
  WillMake(path_);
  return files_.Rename(TemporaryPath(), path_);
}

}  // namespace transmla
