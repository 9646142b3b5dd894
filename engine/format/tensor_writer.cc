#include "engine/format/tensor_writer.h"

#include <utility>

#include "engine/base/status.h"

namespace transmla {

TensorWriter::TensorWriter(FileSystem& files, std::string path, std::vector<TensorInfo> tensors)
    : files_(files), queue_(std::move(path), std::move(tensors)) {}

TensorWriter::~TensorWriter() {
  if (!finished_) Fail(absl::AbortedError("not finished")).IgnoreError();
}

absl::Status TensorWriter::Append(absl::string_view name, const TensorView& rows) {
  if (!status_.ok()) return status_;
  RETURN_IF_ERROR(FailIfNot(queue_.CheckNext(name, rows.dtype, rows.bytes())));
  if (rows.bytes() == 0) return absl::OkStatus();
  return FailIfNot(Write({rows.as<char>(), static_cast<size_t>(rows.bytes())}));
}

absl::Status TensorWriter::AppendFloats(absl::string_view name, absl::Span<const float> rows) {
  if (!status_.ok()) return status_;
  RETURN_IF_ERROR(FailIfNot(queue_.CheckNextFloats(name, rows.size())));
  return FailIfNot(EncodeRows(queue_.due_dtype(), rows,
                              [this](absl::string_view encoded) { return Write(encoded); }));
}

absl::Status TensorWriter::Finish() {
  if (!status_.ok()) return status_;
  if (finished_) return absl::OkStatus();
  RETURN_IF_ERROR(FailIfNot(queue_.CheckDone()));
  RETURN_IF_ERROR(FailIfNot(Publish()));
  finished_ = true;
  return absl::OkStatus();
}

absl::Status TensorWriter::Fail(absl::Status status) {
  if (!status_.ok()) return status_;
  status_ = std::move(status);
  file_.reset();
  // A leftover that cannot be removed changes nothing in the error that is reported.
  for (const std::string& path : made_) files_.Remove(path).IgnoreError();
  made_.clear();
  return status_;
}

}  // namespace transmla
