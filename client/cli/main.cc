// transmla: converts models to multi-head latent attention, inspects and evaluates them, and talks
// to transmla-server.
#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include <signal.h>

#include "absl/flags/parse.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

#include "client/cli/command.h"

namespace transmla {
namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;
constexpr int kInterrupted = 130;  // 128 + SIGINT, as shells report it

const std::array<const Command*, 7> kCommands = {
    &kChatCommand,    &kGenerateCommand, &kModelsCommand, &kConvertCommand,
    &kInspectCommand, &kEvalCommand,     &kBenchCommand};

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
  // Abseil's own --help lists every linked flag; a person wants those of this command.
  for (int i = 2; i < argc; ++i) {
    if (IsHelp(argv[i])) {
      absl::PrintF("%s", command->help);
      return 0;
    }
  }
  // A reader that goes away (transmla … | head) is an error of the write, not the end of this
  // process.
  signal(SIGPIPE, SIG_IGN);
  const std::vector<char*> positional = absl::ParseCommandLine(argc, argv);
  const std::vector<std::string> arguments(positional.begin() + 2, positional.end());
  const absl::Status status = command->run(arguments);
  if (status.ok()) return 0;
  absl::FPrintF(stderr, "transmla %s: %s\n", command->name, status.message());
  if (absl::IsCancelled(status)) return kInterrupted;
  return absl::IsInvalidArgument(status) ? kUsage : kFailure;
}

}  // namespace

absl::Status ExpectArguments(absl::Span<const std::string> arguments, size_t count,
                             absl::string_view usage) {
  if (arguments.size() == count) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrFormat("usage: %s", usage));
}

}  // namespace transmla

int main(int argc, char** argv) { return transmla::Main(argc, argv); }
