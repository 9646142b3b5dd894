#include "server/confined_path.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

#include "server/translate.h"

namespace transmla {

namespace fs = std::filesystem;

absl::StatusOr<std::string> ConfinePath(const std::string& root, const std::string& relative,
                                        absl::string_view field) {
  if (relative.empty()) return InvalidField(field, "is empty; name a path below the root");
  if (relative.find('\0') != std::string::npos) return InvalidField(field, "holds a zero byte");
  const fs::path path(relative);
  const bool climbs = std::find(path.begin(), path.end(), "..") != path.end();
  if (path.is_absolute() || climbs) {
    return InvalidField(field, absl::StrCat("is \"", relative.substr(0, 200),
                                            "\"; it must be relative to --conversion-root and "
                                            "without \"..\""));
  }
  std::error_code error;
  const fs::path base = fs::canonical(root, error);
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("--conversion-root ", root, ": ", error.message()));
  }
  const fs::path resolved = fs::weakly_canonical(base / path, error);
  const auto mismatch = std::mismatch(base.begin(), base.end(), resolved.begin(), resolved.end());
  // Strictly below: the root itself is neither a model nor a destination.
  if (error || mismatch.first != base.end() || mismatch.second == resolved.end()) {
    return InvalidField(field, absl::StrCat("is \"", relative.substr(0, 200),
                                            "\", which leads out of --conversion-root"));
  }
  return resolved.string();
}

}  // namespace transmla
