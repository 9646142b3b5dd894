// transmla chat: a conversation in the terminal, answers streamed.
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include <unistd.h>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "client/cli/command.h"
#include "client/cli/connect.h"
#include "client/cli/output.h"
#include "client/cli/sampling_flags.h"
#include "client/cli/terminal.h"
#include "engine/base/status.h"

ABSL_FLAG(std::string, system, "", "System message of the conversation");

namespace transmla {
namespace {

std::vector<ConversationTurn> NewConversation() {
  const std::string system = absl::GetFlag(FLAGS_system);
  if (system.empty()) return {};
  return {{.role = "system", .content = system}};
}

// Streams the answer to the conversation so far and adds it. An interrupted answer is kept as far
// as it came.
absl::Status Answer(Client& client, std::vector<ConversationTurn>& conversation) {
  ASSIGN_OR_RETURN(CompletionRequest request, RequestFromFlags());
  request.messages = conversation;
  std::string answer;
  ClearInterrupt();
  const absl::StatusOr<CompletionResult> result =
      client.Generate(request, [&answer](const CompletionDelta& delta) {
        answer += delta.text;
        return PrintNow(delta.text) && !Interrupted();
      });
  PrintNow("\n");
  if (!result.ok() && !absl::IsCancelled(result.status())) return result.status();
  if (result.ok() && isatty(STDOUT_FILENO) != 0) {
    PrintNow(absl::StrCat("\x1b[2m", SpeedLine(*result), "\x1b[0m\n"));
  }
  conversation.push_back({.role = "assistant", .content = answer});
  return absl::OkStatus();
}

absl::Status Run(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 0, "transmla chat [--flags]"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectFromFlags());
  std::vector<ConversationTurn> conversation = NewConversation();
  const bool interactive = isatty(STDIN_FILENO) != 0;
  if (interactive) PrintNow("/new starts over, /quit ends, Ctrl-C stops an answer.\n");
  CatchInterrupt();
  std::string line;
  while (PrintNow(interactive ? "> " : "") && std::getline(std::cin, line)) {
    if (line.empty()) continue;
    if (line == "/quit") break;
    if (line == "/new") {
      conversation = NewConversation();
      continue;
    }
    conversation.push_back({.role = "user", .content = line});
    const absl::Status status = Answer(*client, conversation);
    if (status.ok()) continue;
    if (!interactive) return status;
    // A conversation outlives one refused answer: the server may be full for a moment.
    absl::FPrintF(stderr, "%s\n", status.message());
    conversation.pop_back();
  }
  return absl::OkStatus();
}

}  // namespace

const Command kChatCommand = {
    .name = "chat",
    .summary = "talk to a model, answers streamed",
    .help =
        "Usage: transmla chat [--flags]\n\n"
        "Reads a message a line; /new starts over, /quit or end of input ends.\n\n"
        "  --system TEXT         system message of the conversation (none)\n"
        "  --server HOST:PORT    where the server is (127.0.0.1:8033)\n"
        "  --tls                 encrypt; --tls-ca FILE, --tls-cert FILE, --tls-key FILE as "
        "needed\n"
        "  --model NAME          which model (the server's only one)\n"
        "  --max-tokens N        tokens an answer at most (256; 0: up to the context)\n"
        "  --temperature T --top-p P --top-k K --min-p P --seed N   how tokens are drawn\n\n"
        "Example: transmla chat --system \"Answer in one sentence.\"\n",
    .run = Run,
};

}  // namespace transmla
