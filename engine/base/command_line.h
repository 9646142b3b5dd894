// The command line of a program: its ABSL_FLAGs and what is left beside them.
//
// absl::ParseCommandLine is not used because it ends the process with 1 for a mistake of the user,
// knows underscores only and lists every linked flag as help.
#ifndef TRANSMLA_ENGINE_BASE_COMMAND_LINE_H_
#define TRANSMLA_ENGINE_BASE_COMMAND_LINE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace transmla {

// Sets flags and returns the arguments that are none, in order. A flag is --name=value or --name
// value; a bool one is also --name or --noname; dashes and underscores in a name are the same.
// After
// "--" everything is an argument. Of the linked flags those are there for which `is_known`, given
// the name with dashes, says so; empty: all. InvalidArgument naming flag and value; flags before it
// are set.
absl::StatusOr<std::vector<std::string>> ParseFlags(
    absl::Span<char* const> arguments,
    const std::function<bool(absl::string_view)>& is_known = nullptr);

// The flags that the source file `file` defines, sorted, each with its help and default.
std::string DescribeFlags(absl::string_view file);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_COMMAND_LINE_H_
