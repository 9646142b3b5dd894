// ConfinePath: paths that clients name, kept below one folder of the server.
#ifndef TRANSMLA_SERVER_CONFINED_PATH_H_
#define TRANSMLA_SERVER_CONFINED_PATH_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace transmla {

// The path of `relative` below `root`, without symbolic links. InvalidArgument naming `field` if it
// is empty, absolute or outside; FailedPrecondition if there is no `root`. Touches files.
absl::StatusOr<std::string> ConfinePath(const std::string& root, const std::string& relative,
                                        absl::string_view field);

}  // namespace transmla

#endif  // TRANSMLA_SERVER_CONFINED_PATH_H_
