// TensorWriter: what the writers of checkpoints share. Rows are appended in the order that tensors
// were declared in, and no more than what the caller appends is in memory. If anything fails, or
// the writer is destroyed before Finish(), every file it made is removed.
#ifndef TRANSMLA_ENGINE_FORMAT_TENSOR_WRITER_H_
#define TRANSMLA_ENGINE_FORMAT_TENSOR_WRITER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/base/file.h"
#include "engine/format/checkpoint.h"
#include "engine/format/tensor_queue.h"

namespace transmla {

// Thread-compatible.
class TensorWriter {
 public:
  virtual ~TensorWriter();
  TensorWriter(const TensorWriter&) = delete;
  TensorWriter& operator=(const TensorWriter&) = delete;

  // Appends rows, or all, of tensor `name`: type and row length as declared, rows not more than are
  // missing. Returns FailedPrecondition if `name` is not the next unfinished tensor in the declared
  // order or the rows do not fit; after an error every later call returns it again.
  absl::Status Append(absl::string_view name, const TensorView& rows);
  // As Append, for floats that are rounded to the declared type (F32, F16, BF16 or, in GGUF, Q8_0),
  // any number of whole rows.
  absl::Status AppendFloats(absl::string_view name, absl::Span<const float> rows);

  // Returns FailedPrecondition if rows are missing; OK when everything is on disk under its final
  // name.
  absl::Status Finish();

 protected:
  // `path` is for messages. `files` outlives the writer.
  TensorWriter(FileSystem& files, std::string path, std::vector<TensorInfo> tensors);

  // `bytes`, not empty, of the tensor that is due, not more than it lacks.
  virtual absl::Status Write(absl::string_view bytes) = 0;
  // Gives the files their final names: all tensors are whole.
  virtual absl::Status Publish() = 0;

  // Remembers the first error and removes what was written.
  absl::Status Fail(absl::Status status);
  // `path`, which is about to be made, is removed on failure.
  void WillMake(std::string path) { made_.push_back(std::move(path)); }

  FileSystem& files_;
  TensorQueue queue_;
  std::unique_ptr<WritableFile> file_;  // that is being written

 private:
  absl::Status FailIfNot(absl::Status status) {
    return status.ok() ? status : Fail(std::move(status));
  }

  std::vector<std::string> made_;
  absl::Status status_;
  bool finished_ = false;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_TENSOR_WRITER_H_
