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
    : files_(files), path_(std::move(path)), queue_(path_, std::move(tensors)) {}

GgufWriter::~GgufWriter() {
  if (!finished_) Fail(absl::AbortedError("not finished")).IgnoreError();
}

std::string GgufWriter::TemporaryPath() const { return absl::StrCat(path_, ".tmp"); }

absl::Status GgufWriter::Open(const std::string& header, int64_t data_bytes) {
  ASSIGN_OR_RETURN(const int64_t space, files_.SpaceLeft(ParentFolder(path_)));
  const int64_t header_bytes = static_cast<int64_t>(header.size());
  if (space - header_bytes < data_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(path_, ": ", header_bytes, " bytes of header ",
                                                     "and ", data_bytes, " of weights are needed ",
                                                     "but the disk has ", space, " left"));
  }
  ASSIGN_OR_RETURN(file_, files_.Create(TemporaryPath()));
  return file_->Append(header);
}

absl::Status GgufWriter::Append(absl::string_view name, const TensorView& rows) {
  if (!status_.ok()) return status_;
  if (absl::Status status = queue_.CheckNext(name, rows.dtype, rows.bytes()); !status.ok()) {
    return Fail(std::move(status));
  }
  return Write({rows.as<char>(), static_cast<size_t>(rows.bytes())});
}

absl::Status GgufWriter::AppendFloats(absl::string_view name, absl::Span<const float> rows) {
  if (!status_.ok()) return status_;
  if (absl::Status status = queue_.CheckNextFloats(name, rows.size()); !status.ok()) {
    return Fail(std::move(status));
  }
  const absl::Status status = EncodeRows(
      queue_.due_dtype(), rows, [this](absl::string_view encoded) { return Write(encoded); });
  return status.ok() ? status : Fail(status);
}

absl::Status GgufWriter::Write(absl::string_view bytes) {
  if (bytes.empty()) return absl::OkStatus();
  const int64_t tensor_bytes = TensorBytes(queue_.tensors()[queue_.complete()]);
  if (absl::Status status = file_->Append(bytes); !status.ok()) return Fail(std::move(status));
  if (!queue_.Wrote(static_cast<int64_t>(bytes.size()))) return absl::OkStatus();
  const int64_t padding = AlignUp(tensor_bytes, kGgufDefaultAlignment) - tensor_bytes;
  if (padding == 0) return absl::OkStatus();
  const absl::Status status = file_->Append(std::string(static_cast<size_t>(padding), '\0'));
  return status.ok() ? status : Fail(status);
}

absl::Status GgufWriter::Publish() {
  RETURN_IF_ERROR(file_->SyncAndClose());
  file_.reset();
  renamed_ = true;
  return files_.Rename(TemporaryPath(), path_);
}

absl::Status GgufWriter::Finish() {
  if (!status_.ok()) return status_;
  if (finished_) return absl::OkStatus();
  if (absl::Status status = queue_.CheckDone(); !status.ok()) return Fail(std::move(status));
  if (absl::Status status = Publish(); !status.ok()) return Fail(std::move(status));
  finished_ = true;
  return absl::OkStatus();
}

absl::Status GgufWriter::Fail(absl::Status status) {
  if (!status_.ok()) return status_;
  status_ = std::move(status);
  file_.reset();
  // A leftover that cannot be removed changes nothing in the error that is reported.
  files_.Remove(TemporaryPath()).IgnoreError();
  if (renamed_) files_.Remove(path_).IgnoreError();
  return status_;
}

}  // namespace transmla
