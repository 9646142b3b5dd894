#include "engine/base/scratch_file.h"

#include <cerrno>
#include <cstdlib>

#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace transmla {
namespace {

// A file that never had a name; where the file system cannot do that, one that has lost it.
int OpenUnnamed(const std::string& folder) {
  const int descriptor = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return descriptor;
  std::string name = absl::StrCat(folder, "/transmla-XXXXXX");
  const int named = mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) unlink(name.c_str());
  return named;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ScratchFile>> ScratchFile::Create(const std::string& folder) {
  const int descriptor = OpenUnnamed(folder);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, absl::StrCat("no file in ", folder));
  return std::unique_ptr<ScratchFile>(new ScratchFile(descriptor));
}

ScratchFile::~ScratchFile() { close(descriptor_); }

absl::Status ScratchFile::Write(int64_t offset, absl::Span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(descriptor_, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return absl::ErrnoToStatus(errno, "a scratch file cannot be written");
    offset += written;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status ScratchFile::Read(int64_t offset, absl::Span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t read = pread(descriptor_, bytes.data(), bytes.size(), offset);
    if (read < 0 && errno == EINTR) continue;
    if (read < 0) return absl::ErrnoToStatus(errno, "a scratch file cannot be read");
    if (read == 0) return absl::OutOfRangeError("a scratch file ends early");
    offset += read;
    bytes.remove_prefix(static_cast<size_t>(read));
  }
  return absl::OkStatus();
}

}  // namespace transmla
