// transmla generate: one completion, streamed.
#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "client/cli/command.h"
#include "client/cli/connect.h"
#include "client/cli/output.h"
#include "client/cli/sampling_flags.h"
#include "client/cli/terminal.h"
#include "engine/base/status.h"

ABSL_FLAG(bool, chat, false,
          "Render the prompt as a user message through the model's chat template");
ABSL_FLAG(bool, stats, false, "Print latency and speed after the text, on standard error");

namespace transmla {
namespace {

absl::Status Run(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 1, "transmla generate PROMPT|- [--flags]"));
  std::string prompt = arguments[0];
  if (prompt == "-") {
    prompt.assign(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectFromFlags());
  ASSIGN_OR_RETURN(CompletionRequest request, RequestFromFlags());
  if (absl::GetFlag(FLAGS_chat)) {
    request.messages.push_back({.role = "user", .content = prompt});
  } else {
    request.text = prompt;
  }
  const bool json = JsonWanted();
  CatchInterrupt();
  ASSIGN_OR_RETURN(const CompletionResult result,
                   client->Generate(request, [json](const CompletionDelta& delta) {
                     return (json || PrintNow(delta.text)) && !Interrupted();
                   }));
  if (json) {
    PrintJson(ToJson(result));
    return absl::OkStatus();
  }
  PrintNow("\n");
  if (absl::GetFlag(FLAGS_stats)) absl::FPrintF(stderr, "%s\n", SpeedLine(result));
  return absl::OkStatus();
}

}  // namespace

const Command kGenerateCommand = {
    .name = "generate",
    .summary = "stream one completion from a server",
    .help =
        "Usage: transmla generate PROMPT [--flags]      PROMPT - reads standard input\n\n"
        "  --chat                the prompt is a user's message, not text to continue\n"
        "  --stats               print latency and speed after the text\n"
        "  --json                print one object when done instead of streaming\n"
        "  --server HOST:PORT    where the server is (127.0.0.1:8033)\n"
        "  --tls                 encrypt; --tls-ca FILE, --tls-cert FILE, --tls-key FILE as "
        "needed\n"
        "  --model NAME          which model (the server's only one)\n"
        "  --max-tokens N        tokens to generate at most (256; 0: up to the context)\n"
        "  --temperature T       0 is greedy, 1 the model's own distribution (model's default)\n"
        "  --top-p P --top-k K --min-p P --typical-p P   keep likely tokens only\n"
        "  --repetition-penalty R --presence-penalty P --frequency-penalty P   repeat less\n"
        "  --seed N              same seed, same text (random)\n"
        "  --stop A,B            texts that end the completion\n"
        "  --bad-words A,B       texts that must not come up\n"
        "  --json-schema TEXT|@FILE   the completion is JSON, valid under this schema\n"
        "  --regex EXPRESSION    the completion matches it as a whole\n"
        "  --grammar TEXT|@FILE  the completion is a text of this grammar (GBNF)\n"
        "  --draft-tokens N      guess tokens from what was there; same text, fewer steps\n"
        "  --tenant NAME --priority N   whose request it is, and how urgent\n"
        "  --ignore-eos          go on after the model's end token\n\n"
        "Example: transmla generate \"The sea is\" --max-tokens 40 --temperature 0\n",
    .run = Run,
};

}  // namespace transmla
