#include "engine/convert/work_folder.h"

#include <cstring>
#include <utility>

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

absl::Status RecordFile::Append(absl::string_view bytes) {
  checksum_ = Checksum(bytes, checksum_);
  return file_->Append(bytes);
}

absl::Status RecordFile::Finish() {
  RETURN_IF_ERROR(file_->Append(
      absl::string_view(reinterpret_cast<const char*>(&checksum_), sizeof(checksum_))));
  file_.reset();
  return files_.Rename(partial_, path_);
}

absl::StatusOr<RecordFile> WorkFolder::Create(absl::string_view name) {
  const std::string partial = PathOf(absl::StrCat(name, ".partial"));
  ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, files_.Create(partial));
  return RecordFile(files_, PathOf(name), partial, std::move(file));
}

absl::Status WorkFolder::Write(absl::string_view name, absl::string_view bytes) {
  ASSIGN_OR_RETURN(RecordFile file, Create(name));
  RETURN_IF_ERROR(file.Append(bytes));
  return file.Finish();
}

absl::StatusOr<MappedRecord> WorkFolder::Map(absl::string_view name) const {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, files_.Map(PathOf(name)));
  absl::string_view bytes = file->bytes();
  uint32_t checksum = 0;
  if (bytes.size() >= sizeof(checksum)) {
    std::memcpy(&checksum, bytes.data() + bytes.size() - sizeof(checksum), sizeof(checksum));
    bytes.remove_suffix(sizeof(checksum));
    if (Checksum(bytes) == checksum) return MappedRecord{std::move(file), bytes};
  }
  return absl::DataLossError(absl::StrCat(file->path(), ": is damaged"));
}

absl::StatusOr<std::string> WorkFolder::Read(absl::string_view name) const {
  ASSIGN_OR_RETURN(const MappedRecord record, Map(name));
  return std::string(record.bytes);
}

}  // namespace transmla
