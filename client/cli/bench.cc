// transmla bench: a load generator for a server, with latency percentiles as its clients see them.
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include <nlohmann/json.hpp>

#include "client/cli/command.h"
#include "client/cli/connect.h"
#include "client/cli/output.h"
#include "client/cli/sampling_flags.h"
#include "client/cli/terminal.h"
#include "engine/base/clock.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/base/thread.h"

ABSL_FLAG(int, concurrency, 8, "Streams at a time");
ABSL_FLAG(int, requests, 32, "Requests in all");
ABSL_FLAG(int, prompt_tokens, 128, "Tokens of each prompt, drawn at random");

namespace transmla {
namespace {

constexpr int kMaxConcurrency = 1024;  // one thread a stream
// Control and single-byte tokens stand at the beginning of most vocabularies, control tokens at the
// end of others.
constexpr uint32_t kFirstOrdinaryToken = 300;
constexpr uint32_t kLastOrdinaryToken = 10'000;

struct Samples {
  std::vector<double> first_token_ms;
  std::vector<double> between_tokens_ms;
  std::vector<double> total_ms;
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int errors = 0;
  std::string first_error;
};

class LoadGenerator {
 public:
  LoadGenerator(Client& client, CompletionRequest request, int prompt_tokens, uint32_t vocab_size)
      : client_(client),
        request_(std::move(request)),
        prompt_tokens_(prompt_tokens),
        first_token_(std::min(kFirstOrdinaryToken, vocab_size / 2)),
        num_tokens_(std::max(std::min(kLastOrdinaryToken, vocab_size * 3 / 4) - first_token_, 1u)) {
    request_.ignore_eos = true;  // every request costs the same
  }

  Samples Run(int concurrency, int requests) {
    {
      std::vector<Thread> threads;
      threads.reserve(concurrency);
      for (int i = 0; i < concurrency; ++i) {
        threads.emplace_back("bench", [this, requests] {
          for (int k = next_.fetch_add(1); k < requests && !Interrupted(); k = next_.fetch_add(1)) {
            One(k);
          }
        });
      }
    }
    absl::MutexLock lock(&mutex_);
    return samples_;
  }

 private:
  void One(int k) {
    CompletionRequest request = request_;
    Random random = Random(1).Split(static_cast<uint64_t>(k));
    for (int i = 0; i < prompt_tokens_; ++i) {
      request.token_ids.push_back(first_token_ + static_cast<uint32_t>(random.Below(num_tokens_)));
    }
    std::vector<double> gaps_ms;
    absl::Time last = absl::InfinitePast();
    uint32_t seen = 0;
    const absl::StatusOr<CompletionResult> result =
        client_.Generate(request, [&](const CompletionDelta& delta) {
          const absl::Time now = SystemClock()->Now();
          // A chunk may hold several tokens: each is charged its share of the gap.
          const uint32_t tokens = std::max(delta.completion_tokens - seen, 1u);
          for (uint32_t i = 0; seen > 0 && i < tokens; ++i) {
            gaps_ms.push_back(absl::ToDoubleMilliseconds(now - last) / tokens);
          }
          last = now;
          seen = delta.completion_tokens;
          return !Interrupted();
        });
    absl::MutexLock lock(&mutex_);
    if (!result.ok()) {
      if (samples_.errors++ == 0) samples_.first_error = result.status().ToString();
      return;
    }
    samples_.first_token_ms.push_back(absl::ToDoubleMilliseconds(result->time_to_first_token));
    samples_.total_ms.push_back(absl::ToDoubleMilliseconds(result->total));
    samples_.between_tokens_ms.insert(samples_.between_tokens_ms.end(), gaps_ms.begin(),
                                      gaps_ms.end());
    samples_.prompt_tokens += result->prompt_tokens;
    samples_.completion_tokens += result->completion_tokens;
  }

  Client& client_;
  CompletionRequest request_;
  const int prompt_tokens_;
  const uint32_t first_token_;
  const uint32_t num_tokens_;
  std::atomic<int> next_{0};
  absl::Mutex mutex_;
  Samples samples_ ABSL_GUARDED_BY(mutex_);
};

nlohmann::json Percentiles(std::vector<double> values) {
  if (values.empty()) return nullptr;
  std::sort(values.begin(), values.end());
  return {{"p50", Percentile(values, 0.50)},
          {"p90", Percentile(values, 0.90)},
          {"p99", Percentile(values, 0.99)},
          {"max", values.back()}};
}

std::string Row(absl::string_view name, const nlohmann::json& percentiles) {
  if (percentiles.is_null()) return "";
  return absl::StrFormat("  %-22s %9.1f %9.1f %9.1f %9.1f\n", name,
                         percentiles["p50"].get<double>(), percentiles["p90"].get<double>(),
                         percentiles["p99"].get<double>(), percentiles["max"].get<double>());
}

absl::Status Run(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 0, "transmla bench [--flags]"));
  const int concurrency = absl::GetFlag(FLAGS_concurrency);
  const int requests = absl::GetFlag(FLAGS_requests);
  const int prompt_tokens = absl::GetFlag(FLAGS_prompt_tokens);
  if (concurrency < 1 || concurrency > kMaxConcurrency || requests < 1 || prompt_tokens < 1) {
    return UsageError(absl::StrFormat(
        "--concurrency is 1 to %d, --requests and --prompt-tokens at least 1", kMaxConcurrency));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectFromFlags());
  ASSIGN_OR_RETURN(const std::vector<ModelDescription> models, client->ListModels());
  if (models.empty()) return absl::UnavailableError("the server serves no model");
  CatchInterrupt();
  const absl::Time start = SystemClock()->Now();
  ASSIGN_OR_RETURN(const CompletionRequest request, RequestFromFlags());
  LoadGenerator generator(*client, request, prompt_tokens, models[0].vocab_size);
  const Samples samples = generator.Run(concurrency, requests);
  const double seconds = absl::ToDoubleSeconds(SystemClock()->Now() - start);
  const nlohmann::json report = {
      {"concurrency", concurrency},
      {"requests", requests},
      {"errors", samples.errors},
      {"seconds", seconds},
      {"prompt_tokens", samples.prompt_tokens},
      {"completion_tokens", samples.completion_tokens},
      {"completion_tokens_per_second", samples.completion_tokens / seconds},
      {"time_to_first_token_ms", Percentiles(samples.first_token_ms)},
      {"between_tokens_ms", Percentiles(samples.between_tokens_ms)},
      {"total_ms", Percentiles(samples.total_ms)}};
  if (JsonWanted()) {
    PrintJson(report);
  } else {
    PrintNow(absl::StrFormat(
        "%d requests, %d at a time, %.1f s: %d prompt tokens, %d generated, %.1f tokens/s\n"
        "  %-22s %9s %9s %9s %9s\n",
        requests, concurrency, seconds, samples.prompt_tokens, samples.completion_tokens,
        samples.completion_tokens / seconds, "milliseconds", "p50", "p90", "p99", "max"));
    PrintNow(Row("time to first token", report["time_to_first_token_ms"]));
    PrintNow(Row("between tokens", report["between_tokens_ms"]));
    PrintNow(Row("whole request", report["total_ms"]));
  }
  if (Interrupted()) return absl::CancelledError("interrupted");
  if (samples.errors == 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrFormat("%d of %d requests failed; the first: %s",
                                                samples.errors, requests, samples.first_error));
}

}  // namespace

const Command kBenchCommand = {
    .name = "bench",
    .summary = "load a server and report throughput and latency",
    .help =
        "Usage: transmla bench [--flags]\n\n"
        "Sends requests with random prompts and measures what their clients see. A new request "
        "starts when one ends.\n\n"
        "  --concurrency N       streams at a time (8)\n"
        "  --requests N          requests in all (32)\n"
        "  --prompt-tokens N     tokens of each prompt (128)\n"
        "  --max-tokens N        tokens to generate for each (256)\n"
        "  --temperature T       how tokens are drawn (model's default)\n"
        "  --model NAME          which model (the server's only one)\n"
        "  --json                print one object\n"
        "  --server HOST:PORT    where the server is (127.0.0.1:8033)\n"
        "  --tls                 encrypt; --tls-ca FILE, --tls-cert FILE, --tls-key FILE as "
        "needed\n\n"
        "Example: transmla bench --concurrency 32 --requests 64 --max-tokens 64\n",
    .run = Run,
};

}  // namespace transmla
