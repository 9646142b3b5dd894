// transmla-server: serves models over gRPC. `transmla-server --help` says how.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <sys/random.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "engine/base/command_line.h"
#include "engine/base/status.h"
#include "engine/base/thread.h"
#include "engine/convert/pipeline.h"
#include "engine/engine.h"
#include "server/config.h"
#include "server/heap_trimmer.h"
#include "server/limits.h"
#include "server/logging.h"
#include "server/server.h"
#include "server/signals.h"
#include "server/version.h"

namespace transmla {
namespace {

constexpr int kBadUsage = 2;

// Often enough that memory follows the load, seldom enough that nobody waits for it.
constexpr absl::Duration kTrimPeriod = absl::Seconds(10);

int Fail(const absl::Status& status, int exit_code = EXIT_FAILURE) {
  StopLogging();
  std::fprintf(stderr, "transmla-server: %s\n", std::string(status.message()).c_str());
  return exit_code;
}

ServerParts RealParts(const ServerConfig& config) {
  ServerParts parts;
  parts.make_engine = CreateEngine;
  parts.converter.convert = Convert;
  parts.converter.plan = PlanConversion;
  parts.converter.make_backend = [threads = config.conversion_threads] {
    return CreateBackend("cpu", {.threads = threads});
  };
  // Without entropy ids repeat from one start to the next, which does no harm.
  if (getrandom(&parts.seed, sizeof(parts.seed), 0) < 0) parts.seed = 0;
  return parts;
}

// Flags and nothing else; --help and --version print and end.
absl::StatusOr<ServerConfig> ReadCommandLine(absl::Span<char* const> arguments) {
  for (const absl::string_view argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      std::fputs(HelpText().c_str(), stdout);
      std::exit(EXIT_SUCCESS);
    }
    if (argument == "--version") {
      std::printf("transmla-server %s\n", kVersion);
      std::exit(EXIT_SUCCESS);
    }
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> rest, ParseFlags(arguments));
  if (!rest.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument \"", rest[0], "\"; a model is named with --model"));
  }
  return ConfigFromFlags();
}

int Serve(const ServerConfig& config) {
  absl::StatusOr<std::unique_ptr<Server>> started = Server::Start(config, RealParts(config));
  if (!started.ok()) return Fail(started.status());
  Server& server = **started;
  const SignalThread signals([&server](int signal, int earlier) {
    // Somebody insists: at once, even if nobody reads the log. Exit code as a shell shows a signal.
    if (earlier > 0) _exit(128 + signal);
    LogInfo(absl::StrCat("signal ", signal, ": draining"));
    if (server.loaded()) return server.RequestShutdown();
    // Nothing runs yet.
    StopLogging();
    _exit(EXIT_SUCCESS);
  });
  LogInfo(absl::StrCat("transmla-server ", kVersion, ": gRPC at ", server.address(), ", HTTP at ",
                       server.metrics_address(), "; loading ", config.engine.model_path));
  if (const absl::Status status = server.Load(); !status.ok()) return Fail(status);
  LogInfo(absl::StrCat("model ", config.engine.model_name, " is ready"));
  const HeapTrimmer trimmer(kTrimPeriod);
  server.Wait().IgnoreError();
  server.Drain();
  // An engine that died, before or while the last streams ran.
  if (const absl::Status end = server.Wait(); !end.ok()) return Fail(end);
  LogInfo("bye");
  StopLogging();
  return EXIT_SUCCESS;
}

int Main(absl::Span<char* const> arguments) {
  const absl::StatusOr<ServerConfig> config = ReadCommandLine(arguments);
  if (!config.ok()) return Fail(config.status(), kBadUsage);
  // Before there are threads of our own: only conversions use BLAS, which starts its threads before
  // main.
  LowerPriorityOfOtherThreads(kConversionNice);
  LimitConversionThreads(config->conversion_threads);
  StartLogging(config->log_format);
  return Serve(*config);
}

}  // namespace
}  // namespace transmla

int main(int argc, char** argv) {
  return transmla::Main(absl::MakeSpan(argv + 1, static_cast<size_t>(argc) - 1));
}
