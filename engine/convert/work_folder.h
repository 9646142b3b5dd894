// WorkFolder: what a conversion has computed so far, on disk: it need not be in memory, and after a
// kill the next conversion of the same job goes on from there.
//
// It is ".NAME.transmla-work" beside the destination. A conversion that ends, well or not, removes
// it; only a process that is killed or shut down leaves it. Two at once for one destination are the
// caller's to prevent. Files are not synced: after a power failure they may be damaged, which their
// checksums show.
#ifndef TRANSMLA_ENGINE_CONVERT_WORK_FOLDER_H_
#define TRANSMLA_ENGINE_CONVERT_WORK_FOLDER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/base/file.h"
#include "engine/base/mapped_file.h"

namespace transmla {

// Of a file's bytes (zlib's CRC-32).
uint32_t Checksum(absl::string_view bytes, uint32_t before = 0);

// A record that is written piece by piece, without being in memory whole.
class RecordFile {
 public:
  absl::Status Append(absl::string_view bytes);
  // Only then is it there. REQUIRES: called once, at last.
  absl::Status Finish();

 private:
  friend class WorkFolder;
  RecordFile(FileSystem& files, std::string path, std::string partial,
             std::unique_ptr<WritableFile> file)
      : files_(files),
        path_(std::move(path)),
        partial_(std::move(partial)),
        file_(std::move(file)) {}

  FileSystem& files_;
  std::string path_, partial_;
  std::unique_ptr<WritableFile> file_;
  uint32_t checksum_ = 0;
};

// A record as it lies on disk.
struct MappedRecord {
  std::shared_ptr<const MappedFile> file;
  absl::string_view bytes;  // of `file`
};

// Thread-compatible.
class WorkFolder {
 public:
  // Takes over what an earlier conversion of exactly this `job` left there; what others left is
  // removed. `files` must outlive the result.
  static absl::StatusOr<std::unique_ptr<WorkFolder>> Open(FileSystem& files,
                                                          const std::string& destination,
                                                          absl::string_view job);
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  FileSystem& files() const { return files_; }
  // Of a file of that name.
  std::string PathOf(absl::string_view name) const { return JoinPath(path_, name); }

  // Records appear whole or not at all.
  absl::Status Write(absl::string_view name, absl::string_view bytes);
  // NotFound if it is not there, DataLoss if it is damaged.
  absl::StatusOr<std::string> Read(absl::string_view name) const;
  // The same without copies.
  absl::StatusOr<RecordFile> Create(absl::string_view name);
  absl::StatusOr<MappedRecord> Map(absl::string_view name) const;
  // Leaves all records where they are at the end.
  void Keep() { keeps_ = true; }
  // Also of files that are no records; OK if there is none.
  absl::Status Remove(absl::string_view name) { return files_.Remove(PathOf(name)); }

 private:
  WorkFolder(FileSystem& files, std::string path) : files_(files), path_(std::move(path)) {}

  FileSystem& files_;
  const std::string path_;
  bool keeps_ = false;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_WORK_FOLDER_H_
