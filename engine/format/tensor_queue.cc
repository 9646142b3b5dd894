#include "engine/format/tensor_queue.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/tensor/block_formats.h"

namespace transmla {
namespace {

// Floats that EncodeRows encodes at a time: whole blocks of every type.
constexpr size_t kEncodeElements = 1 << 16;

}  // namespace

int64_t TensorBytes(const TensorInfo& info) {
  return info.shape.rows() * RowBytes(info.dtype, info.shape.cols());
}

absl::Status TensorQueue::CheckNext(absl::string_view name, DType dtype, int64_t bytes) const {
  if (done() || tensors_[complete_].name != name) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, ": rows of tensor ", name, " appended where ",
                     done() ? "no more were declared" : tensors_[complete_].name, " is due"));
  }
  const TensorInfo& info = tensors_[complete_];
  const int64_t missing = TensorBytes(info) - bytes_written_;
  if (dtype != info.dtype || bytes % RowBytes(info.dtype, info.shape.cols()) != 0 ||
      bytes > missing) {
    return absl::FailedPreconditionError(absl::StrCat(
        path_, ": ", bytes, " bytes of ", DTypeName(dtype), " appended to tensor ", name, " of ",
        DTypeName(info.dtype), " ", info.shape.ToString(), ", which lacks ", missing));
  }
  return absl::OkStatus();
}

absl::Status TensorQueue::CheckNextFloats(absl::string_view name, size_t count) const {
  const DType dtype = due_dtype();
  RETURN_IF_ERROR(CheckNext(name, dtype, 0));
  const TensorInfo& info = tensors_[complete_];
  const auto elements = static_cast<int64_t>(count);
  if (elements % info.shape.cols() != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, ": ", count, " floats appended to tensor ", name, " ",
                     info.shape.ToString(), " are not whole rows"));
  }
  return CheckNext(name, dtype, RowBytes(dtype, elements));
}

bool TensorQueue::Wrote(int64_t bytes) {
  CHECK(!done());
  bytes_written_ += bytes;
  if (bytes_written_ < TensorBytes(tensors_[complete_])) return false;
  bytes_written_ = 0;
  ++complete_;
  return true;
}

absl::Status TensorQueue::CheckDone() const {
  if (done()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path_, ": tensor ", tensors_[complete_].name, " is not complete"));
}

absl::Status EncodeRows(DType dtype, absl::Span<const float> rows,
                        const std::function<absl::Status(absl::string_view)>& write) {
  std::string encoded;
  while (!rows.empty()) {
    const absl::Span<const float> part = rows.first(std::min(rows.size(), kEncodeElements));
    encoded.resize(RowBytes(dtype, static_cast<int64_t>(part.size())));
    RETURN_IF_ERROR(QuantizeRow(dtype, part, encoded.data()));
    RETURN_IF_ERROR(write(encoded));
    rows.remove_prefix(part.size());
  }
  return absl::OkStatus();
}

}  // namespace transmla
