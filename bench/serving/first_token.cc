// One token of one model, as soon as possible: what a process takes from its start to the first
// token, with all that a server loads (tokenizer, weights, cache) and without the network.
//
//   first_token --model PATH [--prompt TEXT] [--threads 2]
//
// Prints the token's text alone, at once; bench/cpu_vs_llama_cpp times the process until then.
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/notification.h"

#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/engine.h"

ABSL_FLAG(std::string, model, "", "GGUF file or folder");
ABSL_FLAG(std::string, prompt, "Once upon a time, in a small village by the sea, there lived",
          "Text before the token");
ABSL_FLAG(int, threads, 0, "Threads; 0: all usable cores");

namespace transmla {
namespace {

constexpr int64_t kCacheBytes = int64_t{64} << 20;  // far more than a short prompt needs

// Prints text as it comes, and remembers how the request ended.
class Printer : public EventSink {
 public:
  void OnTokens(TokenEvent event) override {
    absl::PrintF("%s", event.text);
    std::fflush(stdout);
  }
  void OnPrompt(PromptEvent) override {}
  void OnFinished(FinishedEvent) override { ended_.Notify(); }
  void OnError(const absl::Status& status, const RequestUsage&) override {
    status_ = status;
    ended_.Notify();
  }

  absl::Status Wait() {
    ended_.WaitForNotification();
    return status_;
  }

 private:
  absl::Notification ended_;
  absl::Status status_;
};

absl::Status Run() {
  EngineOptions options;
  options.model_path = absl::GetFlag(FLAGS_model);
  options.threads = absl::GetFlag(FLAGS_threads);
  options.cache_memory_bytes = kCacheBytes;
  if (options.model_path.empty()) return absl::InvalidArgumentError("--model is missing");
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   CreateEngine(options, SystemClock(), nullptr));

  GenerateRequest request;
  request.id = "first";
  request.sampling.temperature = 0;
  request.stop.max_tokens = 1;
  request.skip_special_tokens = false;
  ASSIGN_OR_RETURN(request.prompt, engine->tokenizer().Encode(absl::GetFlag(FLAGS_prompt), {}));
  ASSIGN_OR_RETURN(AdmissionTicket ticket, engine->Reserve());
  const auto printer = std::make_shared<Printer>();
  RETURN_IF_ERROR(engine->Submit(std::move(ticket), std::move(request), printer));
  return printer->Wait();
}

}  // namespace
}  // namespace transmla

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("prints one token of one model as soon as possible");
  absl::ParseCommandLine(argc, argv);
  if (const absl::Status status = transmla::Run(); !status.ok()) {
    absl::FPrintF(stderr, "first_token: %s\n", status.message());
    return 1;
  }
  return 0;
}
