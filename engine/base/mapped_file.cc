#include "engine/base/mapped_file.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace transmla {
namespace {

int Madvise(MappedFile::Access access) {
  switch (access) {
    case MappedFile::Access::kSequential:
      return MADV_SEQUENTIAL;
    case MappedFile::Access::kRandom:
      return MADV_RANDOM;
    case MappedFile::Access::kWillNeed:
      return MADV_WILLNEED;
    case MappedFile::Access::kDontNeed:
      return MADV_DONTNEED;
  }
  return MADV_NORMAL;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  struct stat info {};
  if (fstat(fd, &info) != 0) {
    const int error = errno;
    close(fd);
    return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot stat"));
  }
  if (!S_ISREG(info.st_mode)) {
    close(fd);
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  }
  const auto size = static_cast<size_t>(info.st_size);
  void* data = nullptr;
  if (size > 0) {
    data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) {
      const int error = errno;
      close(fd);
      return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot map ", size, " bytes"));
    }
  }
  close(fd);  // the mapping keeps the file
  return std::shared_ptr<const MappedFile>(
      new MappedFile(path, static_cast<const char*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

absl::StatusOr<absl::string_view> MappedFile::Slice(int64_t offset, int64_t length) const {
  if (offset < 0 || length < 0 || offset > size() || length > size() - offset) {
    return absl::OutOfRangeError(absl::StrCat(path_, ": ", length, " bytes at byte ", offset,
                                              " are not in a file of ", size(), " bytes"));
  }
  return absl::string_view(data_ + offset, static_cast<size_t>(length));
}

void MappedFile::Advise(int64_t offset, int64_t length, Access access) const {
  const int64_t begin = std::clamp<int64_t>(offset, 0, size());
  const int64_t count = std::clamp<int64_t>(length, 0, size() - begin);
  if (count == 0) return;
  const int64_t page_begin = begin / sysconf(_SC_PAGE_SIZE) * sysconf(_SC_PAGE_SIZE);
  // A hint: an old kernel that refuses it costs speed, not correctness.
  (void)madvise(const_cast<char*>(data_) + page_begin,
                static_cast<size_t>(begin + count - page_begin), Madvise(access));
}

}  // namespace transmla
