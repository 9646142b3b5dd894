// TensorQueue: the tensors that a checkpoint's writer was promised, in order, and how much of them
// has come.
#ifndef TRANSMLA_ENGINE_FORMAT_TENSOR_QUEUE_H_
#define TRANSMLA_ENGINE_FORMAT_TENSOR_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/format/checkpoint.h"

namespace transmla {

// Bytes of a tensor's data. REQUIRES: rows are whole blocks of the type, and the result fits.
int64_t TensorBytes(const TensorInfo& info);

// Thread-compatible.
class TensorQueue {
 public:
  // `path` is for messages.
  TensorQueue(std::string path, std::vector<TensorInfo> tensors)
      : path_(std::move(path)), tensors_(std::move(tensors)) {}

  absl::Span<const TensorInfo> tensors() const { return tensors_; }
  // Number of tensors that are whole; also the index of the one that is due.
  size_t complete() const { return complete_; }
  bool done() const { return complete_ == tensors_.size(); }
  // Of the tensor that is due; F32 when none is.
  DType due_dtype() const { return done() ? DType::kF32 : tensors_[complete_].dtype; }

  // FailedPrecondition unless `name` is the tensor that is due and `bytes` of `dtype` are whole
  // rows of it, not more than are missing.
  absl::Status CheckNext(absl::string_view name, DType dtype, int64_t bytes) const;
  // As CheckNext, for `count` floats that are to be rounded to the declared type.
  absl::Status CheckNextFloats(absl::string_view name, size_t count) const;
  // `bytes` of the tensor that is due were written. Returns whether it is whole now.
  bool Wrote(int64_t bytes);
  // FailedPrecondition, naming the tensor that is due, unless all are whole.
  absl::Status CheckDone() const;

 private:
  const std::string path_;
  const std::vector<TensorInfo> tensors_;
  size_t complete_ = 0;
  int64_t bytes_written_ = 0;  // of the tensor that is due
};

// Rounds `rows`, whole rows, to `dtype` (F32, F16, BF16 or Q8_0) and hands the bytes on in pieces
// of bounded size. Returns what `write` returned first that was not OK.
absl::Status EncodeRows(DType dtype, absl::Span<const float> rows,
                        const std::function<absl::Status(absl::string_view)>& write);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_TENSOR_QUEUE_H_
