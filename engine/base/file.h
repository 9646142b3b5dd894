// FileSystem: the only door to files, so that tests can make the n-th operation fail.
//
// PosixFileSystem() is the real one; tests/testing/faulty_file_system.h wraps it. Messages name the
// path and what the system said; codes follow errno (ENOENT: NotFound, ENOSPC: ResourceExhausted,
// EACCES: PermissionDenied).
#ifndef TRANSMLA_ENGINE_BASE_FILE_H_
#define TRANSMLA_ENGINE_BASE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/base/mapped_file.h"

namespace transmla {

// A new file, written from its start. Thread-compatible. The destructor closes the file without a
// promise that the bytes are on disk; callers that care call SyncAndClose and look at its answer.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual absl::Status Append(absl::string_view bytes) = 0;
  // Returns when the bytes are on disk. Nothing may be appended afterwards, whatever it returned.
  virtual absl::Status SyncAndClose() = 0;
};

enum class PathKind { kMissing, kFile, kFolder, kOther };

// Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // kMissing where there is nothing, or nothing that this process may see.
  virtual PathKind Kind(const std::string& path) = 0;
  // The whole file. Returns OutOfRange if it is longer than `max_bytes`: sizes of files are input.
  virtual absl::StatusOr<std::string> Read(const std::string& path, int64_t max_bytes) = 0;
  virtual absl::StatusOr<std::shared_ptr<const MappedFile>> Map(const std::string& path) = 0;
  // Names in a folder, without "." and "..", sorted.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& folder) = 0;
  // Free bytes for an unprivileged process on the disk that holds `path`.
  virtual absl::StatusOr<int64_t> SpaceLeft(const std::string& path) = 0;

  // Truncates what was there.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) = 0;
  // Replaces `to` (a file, or an empty folder) in one step, and returns when the change of the
  // folder is on disk.
  virtual absl::Status Rename(const std::string& from, const std::string& to) = 0;
  // With all parents; OK if it exists.
  virtual absl::Status CreateFolder(const std::string& path) = 0;
  // A file or a folder with everything in it; links are removed, not followed. OK if there is
  // nothing.
  virtual absl::Status Remove(const std::string& path) = 0;
};

// The operating system's files; never destroyed.
FileSystem* PosixFileSystem();

// Makes `path` hold `contents`, by a temporary file beside it that is synced and renamed: readers,
// and a crash at any moment, see the old contents or the new ones. The temporary file is removed on
// failure.
absl::Status WriteFileAtomically(FileSystem& files, const std::string& path,
                                 absl::string_view contents);

// "folder/name", without doubling the slash; `name` alone if `folder` is empty.
std::string JoinPath(absl::string_view folder, absl::string_view name);
// What follows the last slash; the last component of "a/b/" is "b".
absl::string_view BaseName(absl::string_view path);
// What precedes the last slash; "." if there is none.
std::string ParentFolder(absl::string_view path);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_FILE_H_
