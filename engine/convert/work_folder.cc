#include "engine/convert/work_folder.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include <zlib.h>

#include "engine/base/status.h"
#include "engine/convert/staged_folder.h"

namespace transmla {
namespace {

constexpr absl::string_view kJob = "job";

}  // namespace

uint32_t Checksum(absl::string_view bytes, uint32_t before) {
  return static_cast<uint32_t>(
      crc32_z(before, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

absl::StatusOr<std::unique_ptr<WorkFolder>> WorkFolder::Open(FileSystem& files,
                                                             const std::string& destination,
                                                             absl::string_view job) {
  std::unique_ptr<WorkFolder> folder(
      new WorkFolder(files, HiddenBeside(destination, ".transmla-work")));
  const absl::StatusOr<std::string> left = folder->Read(kJob);
  if (left.ok() && *left == job) return folder;
  RETURN_IF_ERROR(files.Remove(folder->path_));
  RETURN_IF_ERROR(files.CreateFolder(folder->path_));
  RETURN_IF_ERROR(folder->Write(kJob, job));
  return folder;
}

WorkFolder::~WorkFolder() {
  // A destructor cannot report; the next conversion to this destination takes over what is left, or
  // removes it.
  if (!keeps_) files_.Remove(path_).IgnoreError();
}

absl::Status WorkFolder::Write(absl::string_view name, absl::string_view bytes) {
  const std::string partial = PathOf(absl::StrCat(name, ".partial"));
  const uint32_t checksum = Checksum(bytes);
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, files_.Create(partial));
    RETURN_IF_ERROR(file->Append(bytes));
    RETURN_IF_ERROR(file->Append(
        absl::string_view(reinterpret_cast<const char*>(&checksum), sizeof(checksum))));
  }
  return files_.Rename(partial, PathOf(name));
}

absl::StatusOr<std::string> WorkFolder::Read(absl::string_view name) const {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, files_.Map(PathOf(name)));
  absl::string_view bytes = file->bytes();
  uint32_t checksum = 0;
  if (bytes.size() >= sizeof(checksum)) {
    std::memcpy(&checksum, bytes.data() + bytes.size() - sizeof(checksum), sizeof(checksum));
    bytes.remove_suffix(sizeof(checksum));
    if (Checksum(bytes) == checksum) return std::string(bytes);
  }
  return absl::DataLossError(absl::StrCat(file->path(), ": is damaged"));
}

}  // namespace transmla
