// transmla models: what a server serves.
#include <memory>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "client/cli/command.h"
#include "client/cli/connect.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "engine/base/status.h"

ABSL_FLAG(bool, ready, false, "Fail unless every model is ready");

namespace transmla {
namespace {

absl::Status CheckReady(const std::vector<ModelDescription>& models) {
  for (const ModelDescription& model : models) {
    if (model.state != "ready") {
      return absl::UnavailableError(absl::StrFormat("%s is %s", model.name, model.state));
    }
  }
  return absl::OkStatus();
}

absl::Status Run(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 0, "transmla models [--flags]"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectFromFlags());
  ASSIGN_OR_RETURN(const std::vector<ModelDescription> models, client->ListModels());
  if (JsonWanted()) {
    nlohmann::json list = nlohmann::json::array();
    for (const ModelDescription& model : models) list.push_back(ToJson(model));
    PrintJson({{"models", list}});
    return absl::GetFlag(FLAGS_ready) ? CheckReady(models) : absl::OkStatus();
  }
  for (const ModelDescription& model : models) {
    PrintNow(ToText(model));
  }
  return absl::GetFlag(FLAGS_ready) ? CheckReady(models) : absl::OkStatus();
}

}  // namespace

const Command kModelsCommand = {
    .name = "models",
    .summary = "list what a server serves",
    .help =
        "Usage: transmla models [--flags]\n\n"
        "  --ready               fail unless the model is loaded and new requests are welcome\n"
        "  --json                print one object\n"
        "  --server HOST:PORT    where the server is (127.0.0.1:8033)\n"
        "  --tls                 encrypt; --tls-ca FILE, --tls-cert FILE, --tls-key FILE as "
        "needed\n",
    .run = Run,
};

}  // namespace transmla
