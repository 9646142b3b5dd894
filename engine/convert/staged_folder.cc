#include "engine/convert/staged_folder.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"

namespace transmla {
namespace {

std::string WithoutTrailingSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

std::string HiddenBeside(const std::string& destination, absl::string_view suffix) {
  const std::string whole = WithoutTrailingSlashes(destination);
  return JoinPath(ParentFolder(whole), absl::StrCat(".", BaseName(whole), suffix));
}

absl::Status CheckDestination(FileSystem& files, const std::string& destination, bool overwrite) {
  if (destination.empty()) return absl::InvalidArgumentError("no destination folder is given");
  const std::string name(BaseName(WithoutTrailingSlashes(destination)));
  if (name.empty() || name == "." || name == ".." || name == "/")
    return absl::InvalidArgumentError(
        absl::StrCat(destination, ": has no name of its own; name the folder, as ../NAME"));
  const PathKind kind = files.Kind(destination);
  if (kind == PathKind::kMissing) return absl::OkStatus();
  if (kind != PathKind::kFolder)
    return absl::AlreadyExistsError(
        absl::StrCat(destination, ": exists and is no folder; choose another destination"));
  if (!overwrite)
    return absl::AlreadyExistsError(absl::StrCat(
        destination, ": exists; choose another destination, or ask for it to be overwritten"));
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(destination));
  const bool is_model = std::any_of(names.begin(), names.end(), [](const std::string& file) {
    return file == "config.json" || file == "transmla_report.json";
  });
  if (names.empty() || is_model) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat(destination,
                   ": is no model folder (it has neither config.json nor transmla_report.json), so "
                   "it is not overwritten; choose another destination"));
}

absl::StatusOr<std::unique_ptr<StagedFolder>> StagedFolder::Create(FileSystem& files,
                                                                   const std::string& destination,
                                                                   bool overwrite) {
  RETURN_IF_ERROR(CheckDestination(files, destination, overwrite));
  std::unique_ptr<StagedFolder> folder(
      new StagedFolder(files, WithoutTrailingSlashes(destination), overwrite));
  RETURN_IF_ERROR(files.Remove(folder->path_));
  RETURN_IF_ERROR(files.CreateFolder(folder->path_));
  return folder;
}

StagedFolder::StagedFolder(FileSystem& files, std::string destination, bool overwrite)
    : files_(files),
      destination_(std::move(destination)),
      path_(HiddenBeside(destination_, ".transmla-partial")),
      old_path_(HiddenBeside(destination_, ".transmla-old")),
      overwrite_(overwrite) {}

StagedFolder::~StagedFolder() {
  // A destructor cannot report; the next conversion to this destination removes what could not be
  // removed now.
  if (!committed_) files_.Remove(path_).IgnoreError();
}

absl::Status StagedFolder::Commit() {
  RETURN_IF_ERROR(CheckDestination(files_, destination_, overwrite_));
  const bool replaces = files_.Kind(destination_) == PathKind::kFolder;
  if (replaces) {
    RETURN_IF_ERROR(files_.Remove(old_path_));
    RETURN_IF_ERROR(files_.Rename(destination_, old_path_));
  }
  if (const absl::Status moved = files_.Rename(path_, destination_); !moved.ok()) {
    if (!replaces) return moved;
    const absl::Status restored = files_.Rename(old_path_, destination_);
    if (restored.ok()) return moved;
    return Annotate(moved, absl::StrCat("what was in ", destination_, " is now in ", old_path_,
                                        " (", restored.message(), ")"));
  }
  committed_ = true;
  // The result is in place; the next conversion to it removes what cannot be removed now.
  if (overwrite_) files_.Remove(old_path_).IgnoreError();
  return absl::OkStatus();
}

}  // namespace transmla
