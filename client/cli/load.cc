// transmla load, transmla unload: what a running server serves beside its first model.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "client/cli/command.h"
#include "client/cli/connect.h"
#include "client/cli/local_flags.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "engine/base/status.h"

ABSL_FLAG(std::string, name, "", "Name that clients ask for");
ABSL_FLAG(std::optional<uint64_t>, cache_memory, std::nullopt, "Bytes of the model's cache");
ABSL_FLAG(std::optional<uint32_t>, max_context, std::nullopt, "Tokens of prompt and completion");

namespace transmla {
namespace {

absl::Status Load(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 1, "transmla load PATH [--flags]"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectFromFlags());
  ASSIGN_OR_RETURN(const ModelDescription model,
                   client->LoadModel({.path = arguments[0],
                                      .name = absl::GetFlag(FLAGS_name),
                                      .cache_memory_bytes = absl::GetFlag(FLAGS_cache_memory),
                                      .cache_dtype = absl::GetFlag(FLAGS_cache_dtype).value_or(""),
                                      .max_context_tokens = absl::GetFlag(FLAGS_max_context)}));
  if (JsonWanted()) {
    PrintJson(ToJson(model));
  } else {
    PrintNow(ToText(model));
  }
  return absl::OkStatus();
}

absl::Status Unload(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 1, "transmla unload NAME [--flags]"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectFromFlags());
  RETURN_IF_ERROR(client->UnloadModel(arguments[0]));
  if (JsonWanted()) {
    PrintJson({{"unloaded", arguments[0]}});
  } else {
    PrintNow(absl::StrCat(arguments[0], " is unloaded\n"));
  }
  return absl::OkStatus();
}

}  // namespace

const Command kLoadCommand = {
    .name = "load",
    .summary = "make a running server serve one more model",
    .help =
        "Usage: transmla load PATH [--flags]\n\n"
        "PATH is a GGUF file or a folder below the server's conversion root: what transmla "
        "convert\n"
        "--remote wrote, or any other model. Returns when the model is served.\n\n"
        "  --name NAME           what clients ask for (the file's or folder's name)\n"
        "  --cache-memory BYTES  of its cache (the server's --cache-memory, else a quarter of what "
        "is "
        "free)\n"
        "  --cache-dtype T       f32, f16, bf16 or int8 (the server's)\n"
        "  --max-context N       tokens of a prompt and its completion (the server's)\n"
        "  --json                print one object\n"
        "  --server HOST:PORT    where the server is (127.0.0.1:8033)\n"
        "  --tls                 encrypt; --tls-ca FILE, --tls-cert FILE, --tls-key FILE as "
        "needed\n\n"
        "Example: transmla load smollm2-mla --name small; transmla chat --model small\n",
    .run = Load,
};

const Command kUnloadCommand = {
    .name = "unload",
    .summary = "make a running server give a loaded model up",
    .help =
        "Usage: transmla unload NAME [--flags]\n\n"
        "New requests of the model are refused at once; running ones may finish within the "
        "server's\n"
        "grace period. Returns when it is gone. The server's first model stays.\n\n"
        "  --json                print one object\n"
        "  --server HOST:PORT    where the server is (127.0.0.1:8033)\n"
        "  --tls                 encrypt; --tls-ca FILE, --tls-cert FILE, --tls-key FILE as "
        "needed\n",
    .run = Unload,
};

}  // namespace transmla
