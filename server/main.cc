// transmla-server: serves one model over gRPC. `transmla-server --help` says how.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <sys/random.h>
#include <unistd.h>

#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/convert/pipeline.h"
#include "engine/engine.h"
#include "server/config.h"
#include "server/logging.h"
#include "server/server.h"
#include "server/signals.h"
#include "server/version.h"

namespace transmla {
namespace {

constexpr int kBadUsage = 2;

int Fail(const absl::Status& status) {
  StopLogging();
  std::fprintf(stderr, "transmla-server: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? kBadUsage : EXIT_FAILURE;
}

ServerParts RealParts(const ServerConfig& config) {
  ServerParts parts;
  parts.make_engine = CreateEngine;
  parts.converter.convert = Convert;
  parts.converter.plan = PlanConversion;
  parts.converter.make_backend = [threads = config.conversion_threads] {
    return CreateBackend("cpu", threads);
  };
  // Without entropy ids repeat from one start to the next, which does no harm.
  if (getrandom(&parts.seed, sizeof(parts.seed), 0) < 0) parts.seed = 0;
  return parts;
}

int Run() {
  const absl::StatusOr<ServerConfig> config = ConfigFromFlags();
  if (!config.ok()) return Fail(config.status());
  StartLogging(config->log_format);
  absl::StatusOr<std::unique_ptr<Server>> started = Server::Start(*config, RealParts(*config));
  if (!started.ok()) return Fail(started.status());
  Server& server = **started;
  const SignalThread signals([&server](int signal, int earlier) {
    LogInfo(absl::StrCat("signal ", signal, earlier == 0 ? ": draining" : ": ending at once"));
    if (earlier == 0 && server.loaded()) return server.RequestShutdown();
    // Nothing runs yet, or somebody insists. Exit code as the shell shows a signal.
    StopLogging();
    _exit(earlier == 0 ? EXIT_SUCCESS : 128 + signal);
  });
  LogInfo(absl::StrCat("transmla-server ", kVersion, " listens at ", config->listen, "; loading ",
                       config->engine.model_path));
  if (const absl::Status status = server.Load(); !status.ok()) return Fail(status);
  LogInfo(absl::StrCat("model ", config->engine.model_name, " is ready"));
  const absl::Status end = server.Wait();
  server.Drain();
  if (!end.ok()) return Fail(end);
  LogInfo("all streams are done; bye");
  StopLogging();
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace transmla

int main(int argc, char** argv) {
  transmla::BlockSignals();
  absl::FlagsUsageConfig usage;
  usage.version_string = [] { return absl::StrCat("transmla-server ", transmla::kVersion, "\n"); };
  // --help lists our flags, not those of libraries.
  usage.contains_help_flags = [](absl::string_view file) {
    return absl::StrContains(file, "server/config.cc");
  };
  absl::SetFlagsUsageConfig(usage);
  absl::SetProgramUsageMessage(transmla::UsageMessage());
  transmla::UnderscoreFlags(argc, argv);
  absl::ParseCommandLine(argc, argv);
  return transmla::Run();
}
