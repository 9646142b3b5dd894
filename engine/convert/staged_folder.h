// StagedFolder: a folder that appears under its name in one step, whole, or not at all.
//
// It is filled as ".NAME.transmla-partial" beside its destination. What a killed process left there
// is removed by the next one that has the same destination; two at once for one destination are the
// caller's to prevent.
#ifndef TRANSMLA_ENGINE_CONVERT_STAGED_FOLDER_H_
#define TRANSMLA_ENGINE_CONVERT_STAGED_FOLDER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/base/file.h"

namespace transmla {

// Whether something may be written to `destination`. AlreadyExists if it is there and `overwrite`
// is not set, or if it is no folder that a conversion may replace: only empty folders and those
// with a config.json or a transmla_report.json are.
absl::Status CheckDestination(FileSystem& files, const std::string& destination, bool overwrite);

// ".NAMEsuffix" beside `destination`, whose own name is NAME.
std::string HiddenBeside(const std::string& destination, absl::string_view suffix);

// Thread-compatible. Removes what it made unless committed.
class StagedFolder {
 public:
  // CheckDestination, then makes the temporary folder. `files` must outlive the result.
  static absl::StatusOr<std::unique_ptr<StagedFolder>> Create(FileSystem& files,
                                                              const std::string& destination,
                                                              bool overwrite);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  // Where to write.
  const std::string& path() const { return path_; }

  // Moves the folder to its destination. With `overwrite`, what was there is moved aside first,
  // removed afterwards, and put back if the move fails. A process killed between those two renames
  // leaves the old folder as ".NAME.transmla-old"; the next one that overwrites removes it.
  absl::Status Commit();

 private:
  StagedFolder(FileSystem& files, std::string destination, bool overwrite);

  FileSystem& files_;
  const std::string destination_;
  const std::string path_;
  const std::string old_path_;
  const bool overwrite_;
  bool committed_ = false;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_STAGED_FOLDER_H_
