// MappedFile: a whole file as read-only memory.
//
// The bytes appear as they are touched and can be dropped again by the kernel, so mapping a model
// costs no memory of its own. Immutable and thread-safe. A file that another process truncates
// while it is mapped kills the reader (SIGBUS): models are replaced by rename, never in place.
#ifndef TRANSMLA_ENGINE_BASE_MAPPED_FILE_H_
#define TRANSMLA_ENGINE_BASE_MAPPED_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace transmla {

class MappedFile {
 public:
  // How a range will be used (madvise).
  enum class Access {
    kSequential,  // read ahead generously
    kRandom,      // no reading ahead
    kWillNeed,    // start reading now
    kDontNeed,    // its pages may go; they are read again when touched
  };

  // Returns NotFound or PermissionDenied as open(2) does, InvalidArgument if `path` is no regular
  // file. An empty file maps to no bytes. Everyone but the FileSystem (file.h) opens through that.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  // Page-aligned; valid as long as this object.
  absl::string_view bytes() const { return {data_, size_}; }
  int64_t size() const { return static_cast<int64_t>(size_); }

  // Bytes [offset, offset + length). Returns OutOfRange, naming file and numbers, if they do not
  // lie inside the file.
  absl::StatusOr<absl::string_view> Slice(int64_t offset, int64_t length) const;

  // Advises the kernel about the pages that [offset, offset + length) touches; a hint, so failures
  // do not matter and parts beyond the file are ignored.
  void Advise(int64_t offset, int64_t length, Access access) const;

 private:
  MappedFile(std::string path, const char* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  const std::string path_;
  const char* const data_;  // null if the file is empty
  const size_t size_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_MAPPED_FILE_H_
