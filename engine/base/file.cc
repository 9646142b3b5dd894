#include "engine/base/file.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace transmla {
namespace {

absl::Status ErrnoError(int error, absl::string_view path, absl::string_view what) {
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": ", what));
}

absl::Status SyncFolder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoError(errno, folder, "cannot open folder");
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  // Some file systems (FUSE, network) cannot sync folders and say so; the rename itself has
  // happened.
  if (error == 0 || error == EINVAL || error == ENOTSUP) return absl::OkStatus();
  return ErrnoError(error, folder, "cannot sync folder");
}

class PosixWritableFile : public WritableFile {
 public:
  PosixWritableFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~PosixWritableFile() override {
    if (fd_ >= 0) close(fd_);
  }

  absl::Status Append(absl::string_view bytes) override {
    CHECK_GE(fd_, 0);
    while (!bytes.empty()) {
      const ssize_t written = write(fd_, bytes.data(), bytes.size());
      if (written < 0) {
        if (errno == EINTR) continue;
        return ErrnoError(errno, path_, absl::StrCat("cannot write ", bytes.size(), " bytes"));
      }
      bytes.remove_prefix(static_cast<size_t>(written));
    }
    return absl::OkStatus();
  }

  absl::Status SyncAndClose() override {
    CHECK_GE(fd_, 0);
    int error = fsync(fd_) == 0 ? 0 : errno;
    if (close(fd_) != 0 && error == 0) error = errno;
    fd_ = -1;
    return error == 0 ? absl::OkStatus() : ErrnoError(error, path_, "cannot sync");
  }

 private:
  const std::string path_;
  int fd_;
};

class PosixFiles : public FileSystem {
 public:
  PathKind Kind(const std::string& path) override {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) return PathKind::kMissing;
    if (S_ISREG(info.st_mode)) return PathKind::kFile;
    return S_ISDIR(info.st_mode) ? PathKind::kFolder : PathKind::kOther;
  }

  absl::StatusOr<std::string> Read(const std::string& path, int64_t max_bytes) override {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoError(errno, path, "cannot open");
    // Files of /proc and pipes report no size: read until the end, or until one byte too many.
    std::string contents;
    while (static_cast<int64_t>(contents.size()) <= max_bytes) {
      const size_t old_size = contents.size();
      const auto room = static_cast<size_t>(max_bytes) + 1 - old_size;
      contents.resize(old_size + std::min<size_t>(room, 1 << 16));
      const ssize_t got = read(fd, contents.data() + old_size, contents.size() - old_size);
      const int error = errno;
      contents.resize(old_size + (got > 0 ? static_cast<size_t>(got) : 0));
      if (got == 0) break;
      if (got < 0 && error != EINTR) {
        close(fd);
        return ErrnoError(error, path, "cannot read");
      }
    }
    close(fd);
    if (static_cast<int64_t>(contents.size()) > max_bytes) {
      return absl::OutOfRangeError(
          absl::StrCat(path, ": longer than the limit of ", max_bytes, " bytes"));
    }
    return contents;
  }

  absl::StatusOr<std::shared_ptr<const MappedFile>> Map(const std::string& path) override {
    return MappedFile::Open(path);
  }

  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override {
    std::error_code error;
    std::vector<std::string> names;
    std::filesystem::directory_iterator entry(folder, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      names.push_back(entry->path().filename().string());
    }
    if (error) return ErrnoError(error.value(), folder, "cannot list");
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::StatusOr<int64_t> SpaceLeft(const std::string& path) override {
    struct statvfs info {};
    if (statvfs(path.c_str(), &info) != 0) return ErrnoError(errno, path, "cannot ask for space");
    return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override {
    const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return ErrnoError(errno, path, "cannot create");
    return std::make_unique<PosixWritableFile>(path, fd);
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) != 0) {
      return ErrnoError(errno, from, absl::StrCat("cannot rename to ", to));
    }
    return SyncFolder(ParentFolder(to));
  }

  absl::Status CreateFolder(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    return error ? ErrnoError(error.value(), path, "cannot create folder") : absl::OkStatus();
  }

  absl::Status Remove(const std::string& path) override {
    std::error_code error;
    std::filesystem::remove_all(path, error);
    return error ? ErrnoError(error.value(), path, "cannot remove") : absl::OkStatus();
  }
};

absl::Status WriteAndSync(FileSystem& files, const std::string& path, absl::string_view contents) {
  ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, files.Create(path));
  RETURN_IF_ERROR(file->Append(contents));
  return file->SyncAndClose();
}

}  // namespace

FileSystem* PosixFileSystem() {
  static FileSystem* const files = new PosixFiles;
  return files;
}

absl::Status WriteFileAtomically(FileSystem& files, const std::string& path,
                                 absl::string_view contents) {
  const std::string temporary = absl::StrCat(path, ".tmp");
  absl::Status status = WriteAndSync(files, temporary, contents);
  if (status.ok()) status = files.Rename(temporary, path);
  if (!status.ok()) {
    // The first error is the one to report; a leftover that cannot be removed changes nothing in
    // it.
    files.Remove(temporary).IgnoreError();
  }
  return status;
}

std::string JoinPath(absl::string_view folder, absl::string_view name) {
  if (folder.empty()) return std::string(name);
  return absl::StrCat(folder, folder.back() == '/' ? "" : "/", name);
}

absl::string_view BaseName(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos || path.size() == 1) return path;
  return path.substr(slash + 1);
}

std::string ParentFolder(absl::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return ".";
  return std::string(path.substr(0, std::max<size_t>(slash, 1)));
}

}  // namespace transmla
