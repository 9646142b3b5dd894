// One file a command; main.cc dispatches. A command reads its flags and its positional arguments,
// writes results to standard output, progress and errors to standard error. Its flags are those
// that its help names.
#ifndef TRANSMLA_CLIENT_CLI_COMMAND_H_
#define TRANSMLA_CLIENT_CLI_COMMAND_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace transmla {

struct Command {
  absl::string_view name;
  absl::string_view summary;  // one line
  absl::string_view help;     // usage, flags with defaults and units, an example
  // A UsageError is exit code 2, Cancelled an interruption (130), others are failures (1).
  absl::Status (*run)(absl::Span<const std::string> arguments);
};

extern const Command kChatCommand;
extern const Command kGenerateCommand;
extern const Command kModelsCommand;
extern const Command kLoadCommand;
extern const Command kUnloadCommand;
extern const Command kConvertCommand;
extern const Command kInspectCommand;
extern const Command kEvalCommand;
extern const Command kBenchCommand;

// InvalidArgument that blames the command line, not what it names.
absl::Status UsageError(absl::string_view message);

// A UsageError, naming the command, unless there are exactly `count` arguments.
absl::Status ExpectArguments(absl::Span<const std::string> arguments, size_t count,
                             absl::string_view usage);

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_CLI_COMMAND_H_
