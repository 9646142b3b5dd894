// transmla: converts models to multi-head latent attention, inspects and evaluates them, and talks
// to transmla-server.
#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include <signal.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

#include "client/cli/command.h"
#include "engine/base/command_line.h"
#include "engine/base/error_reason.h"

namespace transmla {
namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;
constexpr absl::string_view kUsageReason = "WRONG_USAGE";
constexpr int kInterrupted = 130;  // 128 + SIGINT, as shells report it

const std::array<const Command*, 9> kCommands = {
    &kChatCommand,    &kGenerateCommand, &kModelsCommand, &kLoadCommand, &kUnloadCommand,
    &kConvertCommand, &kInspectCommand,  &kEvalCommand,   &kBenchCommand};

void PrintOverview(FILE* file) {
  absl::FPrintF(file,
                "transmla: smaller key/value caches for language models.\n"
                "Converts models from grouped-query to multi-head latent attention, and talks to "
                "transmla-server.\n\nUsage: transmla COMMAND [ARGUMENTS] [--flags]\n\n");
  for (const Command* command : kCommands) {
    absl::FPrintF(file, "  %-10s %s\n", command->name, command->summary);
  }
  absl::FPrintF(file,
                "\nHelp on one: transmla COMMAND --help\n"
                "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n");
}

const Command* Find(absl::string_view name) {
  for (const Command* command : kCommands) {
    if (command->name == name) return command;
  }
  return nullptr;
}

bool IsHelp(absl::string_view argument) {
  return argument == "--help" || argument == "-h" || argument == "-help";
}

// Whether `help` names the flag, and not only a longer one.
bool Names(absl::string_view help, absl::string_view flag) {
  const std::string word = absl::StrCat("--", flag);
  for (size_t at = help.find(word); at != absl::string_view::npos; at = help.find(word, at + 1)) {
    const size_t end = at + word.size();
    if (end == help.size() || (!absl::ascii_isalnum(help[end]) && help[end] != '-')) return true;
  }
  return false;
}

absl::Status RunCommand(const Command& command, absl::Span<char* const> words) {
  const absl::StatusOr<std::vector<std::string>> arguments =
      ParseFlags(words, [&command](absl::string_view flag) { return Names(command.help, flag); });
  if (!arguments.ok()) return UsageError(arguments.status().message());
  return command.run(*arguments);
}

int Main(int argc, char** argv) {
  if (argc < 2 || IsHelp(argv[1]) || absl::string_view(argv[1]) == "help") {
    PrintOverview(argc < 2 ? stderr : stdout);
    return argc < 2 ? kUsage : 0;
  }
  const Command* command = Find(argv[1]);
  if (command == nullptr) {
    absl::FPrintF(stderr, "transmla: no command '%s'\n\n", argv[1]);
    PrintOverview(stderr);
    return kUsage;
  }
  for (int i = 2; i < argc; ++i) {
    if (IsHelp(argv[i])) {
      absl::PrintF("%s", command->help);
      return 0;
    }
  }
  // A reader that goes away (transmla … | head) is an error of the write, not the end of this
  // process.
  signal(SIGPIPE, SIG_IGN);
  const absl::Status status = RunCommand(*command, absl::MakeSpan(argv + 2, argc - 2));
  if (status.ok()) {
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
    absl::FPrintF(stderr, "transmla %s: the output cannot be written\n", command->name);
    return kFailure;
  }
  absl::FPrintF(stderr, "transmla %s: %s\n", command->name, status.message());
  if (absl::IsCancelled(status)) return kInterrupted;
  return ErrorReason(status) == kUsageReason ? kUsage : kFailure;
}

}  // namespace

absl::Status UsageError(absl::string_view message) {
  return WithReason(absl::InvalidArgumentError(message), kUsageReason);
}

absl::Status ExpectArguments(absl::Span<const std::string> arguments, size_t count,
                             absl::string_view usage) {
  if (arguments.size() == count) return absl::OkStatus();
  return UsageError(absl::StrFormat("usage: %s", usage));
}

}  // namespace transmla

int main(int argc, char** argv) { return transmla::Main(argc, argv); }
