#include "server/config.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/flags/flag.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "engine/base/check_range.h"
#include "engine/base/command_line.h"
#include "engine/base/cpu_info.h"
#include "engine/base/status.h"
#include "server/limits.h"
#include "server/process_stats.h"

ABSL_FLAG(std::string, model, "",
          "GGUF file, a folder with one, or Hugging Face folder to serve. Required.");
ABSL_FLAG(std::string, model_name, "",
          "Name that clients ask for. Default: the file's or folder's name.");
ABSL_FLAG(std::string, listen, "127.0.0.1:8033",
          "HOST:PORT for gRPC. Beyond this machine it needs TLS or --insecure-bind.");
ABSL_FLAG(std::string, metrics_listen, "127.0.0.1:9090",
          "HOST:PORT for HTTP: /metrics, /healthz, /readyz. Empty: none.");
ABSL_FLAG(bool, insecure_bind, false,
          "Listen beyond this machine without TLS: everyone who reaches the port may use it.");
ABSL_FLAG(std::string, tls_cert, "", "PEM file of the server's certificate chain.");
ABSL_FLAG(std::string, tls_key, "", "PEM file of the certificate's key.");
ABSL_FLAG(std::string, tls_client_ca, "",
          "PEM file of an authority; clients must show a certificate of it.");
ABSL_FLAG(std::string, device, "cpu", "Where the model runs: cpu or cuda:N.");
ABSL_FLAG(int, threads, 0, "CPU threads, 0 to 1024. 0: all usable cores.");
ABSL_FLAG(bool, pin_threads, false,
          "On the cpu, bind compute threads to a processor each: steadier on a machine or cpuset "
          "that nothing else uses.");
ABSL_FLAG(
    bool, quantised_activations, true,
    "On the cpu, multiply quantised weights as 8-bit integers: several times faster, slightly "
    "rounded. False: in 32-bit floats.");
ABSL_FLAG(
    std::string, cache_memory, "",
    "Memory for the cache: bytes (512MiB, 2GiB), or on the cpu a share of what is free (25%). "
    "Default: a quarter of what is left after the weights.");
ABSL_FLAG(std::string, cache_dtype, "bf16",
          "Type of the cache: f32, f16, bf16 or int8 (8-bit integers with scales).");
ABSL_FLAG(int, max_context, 0,
          "Tokens of a prompt and its completion. 0: the model's, as far as the cache holds it.");
ABSL_FLAG(int, max_step_tokens, 512, "Tokens that the engine computes in one step, 1 to 65536.");
ABSL_FLAG(int, max_running, 64, "Sequences that run at a time, 1 to 4096.");
ABSL_FLAG(int, max_queued_requests, 128,
          "Sequences that may wait, 1 to 1000000; more are refused at once.");
ABSL_FLAG(int64_t, max_queued_tokens, int64_t{1} << 20,
          "Prompt tokens that may wait, at least 1; more are refused at once.");
ABSL_FLAG(bool, prefix_cache, true,
          "Requests that begin alike share the cache of that beginning; it is computed once.");
ABSL_FLAG(bool, expanded_prompts, false,
          "Prompts of converted models attend over keys and values of every head where that is "
          "faster: from 1,024 tokens on, and for wide latents. Follow-ups share less cache.");
ABSL_FLAG(std::string, spill_folder, "",
          "Folder for a file that takes what the prefix cache has no memory for. Empty: none.");
ABSL_FLAG(std::string, spill_size, "4GiB", "Bytes of that file at most (512MiB, 4GiB).");
ABSL_FLAG(
    int, draft_tokens, 0,
    "Tokens guessed a step for requests that do not say, 0 to 16. The same text, in fewer steps "
    "where it repeats itself.");
ABSL_FLAG(std::vector<std::string>, tenant_weights, {},
          "Shares of tenants, NAME=WEIGHT,…; others have 1. Requests of one priority take turns by "
          "tenant.");
ABSL_FLAG(absl::Duration, stream_stall_timeout, absl::Seconds(30),
          "A stream whose reader takes nothing for so long is ended, 1s to 1h.");
ABSL_FLAG(absl::Duration, drain_delay, absl::ZeroDuration(),
          "After SIGTERM, health says not serving for so long before requests are refused, 0 to "
          "10m.");
ABSL_FLAG(absl::Duration, grace_period, absl::Seconds(45),
          "After SIGTERM, running streams may finish for so long, 0 to 1h.");
ABSL_FLAG(
    std::string, conversion_root, "",
    "Folder below which ConvertModel reads and writes, and LoadModel reads. Empty: both are off.");
ABSL_FLAG(int, conversion_threads, 0,
          "CPU threads of a conversion, 0 to 1024, at low priority. 0: a quarter of --threads, at "
          "least 1.");
ABSL_FLAG(std::string, metrics_compat, "vllm",
          "vllm: metrics also appear under vLLM's names. none: under our own only.");
ABSL_FLAG(std::string, log_format, "text", "Lines on standard error: text or json.");

namespace transmla {
namespace {

absl::Status BadFlag(absl::string_view flag, absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", absl::StrReplaceAll(flag, {{"_", "-"}}), " ", problem));
}

absl::Status FillEngine(EngineOptions* engine) {
  engine->model_path = absl::GetFlag(FLAGS_model);
  if (engine->model_path.empty()) {
    return BadFlag("model", "is missing; name a GGUF file or a Hugging Face folder");
  }
  engine->model_name = absl::GetFlag(FLAGS_model_name);
  if (engine->model_name.empty()) engine->model_name = ModelNameOf(engine->model_path);
  engine->device = absl::GetFlag(FLAGS_device);
  engine->threads = absl::GetFlag(FLAGS_threads);
  const std::optional<DType> dtype = ParseCacheDType(absl::GetFlag(FLAGS_cache_dtype));
  if (!dtype) {
    return BadFlag("cache_dtype", absl::StrCat("is \"", absl::GetFlag(FLAGS_cache_dtype),
                                               "\"; it must be ", kCacheDTypeChoice));
  }
  engine->cache_dtype = *dtype;
  const std::string memory = absl::GetFlag(FLAGS_cache_memory);
  if (!memory.empty()) {
    if (absl::EndsWith(memory, "%") && engine->device != "cpu") {
      return BadFlag("cache_memory", "is a share; on a cuda device give bytes, for instance 8GiB");
    }
    absl::StatusOr<int64_t> bytes =
        ParseMemory(memory, std::min(AvailableMemoryBytes(), GetCpuInfo().memory_bytes));
    if (!bytes.ok()) return BadFlag("cache_memory", bytes.status().message());
    engine->cache_memory_bytes = *bytes;
  }
  engine->max_context_tokens = absl::GetFlag(FLAGS_max_context);
  engine->max_step_tokens = absl::GetFlag(FLAGS_max_step_tokens);
  engine->max_running_requests = absl::GetFlag(FLAGS_max_running);
  engine->max_queued_requests = absl::GetFlag(FLAGS_max_queued_requests);
  engine->max_queued_tokens = absl::GetFlag(FLAGS_max_queued_tokens);
  engine->prefix_cache = absl::GetFlag(FLAGS_prefix_cache);
  engine->quantised_activations = absl::GetFlag(FLAGS_quantised_activations);
  engine->pin_threads = absl::GetFlag(FLAGS_pin_threads);
  engine->expanded_prompts = absl::GetFlag(FLAGS_expanded_prompts);
  engine->spill_folder = absl::GetFlag(FLAGS_spill_folder);
  if (!engine->spill_folder.empty() && !engine->prefix_cache) {
    return BadFlag("spill_folder", "needs --prefix-cache");
  }
  const std::string spill_size = absl::GetFlag(FLAGS_spill_size);
  if (absl::EndsWith(spill_size, "%")) return BadFlag("spill_size", "is a share; give bytes");
  const absl::StatusOr<int64_t> spill_bytes = ParseMemory(spill_size, 0);
  if (!spill_bytes.ok()) return BadFlag("spill_size", spill_bytes.status().message());
  engine->spill_bytes = *spill_bytes;
  engine->draft_tokens = absl::GetFlag(FLAGS_draft_tokens);
  for (const std::string& entry : absl::GetFlag(FLAGS_tenant_weights)) {
    const std::pair<absl::string_view, absl::string_view> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    double weight = 0;
    if (!absl::SimpleAtod(parts.second, &weight) || !(weight >= 1e-3 && weight <= 1e3)) {
      return BadFlag("tenant_weights", absl::StrCat("has \"", entry,
                                                    "\"; it must be NAME=WEIGHT, the "
                                                    "weight from 0.001 to 1000"));
    }
    engine->tenant_weights[std::string(parts.first)] = weight;
  }
  return absl::OkStatus();
}

absl::Status CheckAddress(absl::string_view flag, const std::string& address, bool beyond_allowed,
                          absl::string_view remedy) {
  const absl::StatusOr<bool> loopback = IsLoopback(address);
  if (!loopback.ok()) return BadFlag(flag, loopback.status().message());
  if (*loopback || beyond_allowed) return absl::OkStatus();
  return BadFlag(flag, absl::StrCat("is ", address, ", which others can reach; ", remedy));
}

}  // namespace

std::string ModelNameOf(const std::string& path) {
  std::filesystem::path last(path);
  if (!last.has_filename()) last = last.parent_path();
  std::string name = last.filename().string();
  if (absl::EndsWith(name, ".gguf")) name.resize(name.size() - 5);
  return name;
}

absl::StatusOr<int64_t> ParseMemory(absl::string_view text, int64_t available) {
  static constexpr struct {
    const char* suffix;
    double factor;
  } kUnits[] = {{"TiB", 1024.0 * 1024 * 1024 * 1024},
                {"GiB", 1024.0 * 1024 * 1024},
                {"MiB", 1024.0 * 1024},
                {"KiB", 1024.0}};
  absl::string_view number = text;
  double factor = 1;
  if (absl::ConsumeSuffix(&number, "%")) {
    factor = static_cast<double>(available) / 100;
  } else {
    for (const auto& unit : kUnits) {
      if (!absl::ConsumeSuffix(&number, unit.suffix)) continue;
      factor = unit.factor;
      break;
    }
  }
  double value = 0;
  // Beyond an exbibyte a double no longer fits an int64_t.
  if (!absl::SimpleAtod(number, &value) || !(value > 0) || value * factor >= 1.15e18) {
    return absl::InvalidArgumentError(absl::StrCat(
        "is \"", text, "\"; it must be a positive number of bytes, such as 512MiB, 2GiB or 25%"));
  }
  if (absl::EndsWith(text, "%") && value > 100) {
    return absl::InvalidArgumentError(absl::StrCat("is ", text, "; at most 100%"));
  }
  return static_cast<int64_t>(value * factor);
}

absl::StatusOr<bool> IsLoopback(absl::string_view address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("is \"", address, "\"; it must be HOST:PORT, such as 127.0.0.1:8033"));
  }
  const absl::string_view host = address.substr(0, colon);
  return host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.");
}

absl::Status Validate(const ServerConfig& config) {
  const EngineOptions& engine = config.engine;
  RETURN_IF_ERROR(CheckRange("--threads", engine.threads, 0, 1024));
  RETURN_IF_ERROR(CheckRange("--max-context", engine.max_context_tokens, 0,
                             static_cast<int>(kMaxContextTokens)));
  RETURN_IF_ERROR(CheckRange("--max-step-tokens", engine.max_step_tokens, 1, 65536));
  RETURN_IF_ERROR(CheckRange("--max-running", engine.max_running_requests, 1, 4096));
  RETURN_IF_ERROR(CheckRange("--max-queued-requests", engine.max_queued_requests, 1, 1000000));
  RETURN_IF_ERROR(CheckRange("--max-queued-tokens", engine.max_queued_tokens, 1, INT64_MAX));
  RETURN_IF_ERROR(CheckRange("--draft-tokens", engine.draft_tokens, 0, kMaxDraftTokens));
  RETURN_IF_ERROR(CheckRange("--stream-stall-timeout", config.stream_stall_timeout,
                             absl::Seconds(1), absl::Hours(1)));
  RETURN_IF_ERROR(
      CheckRange("--drain-delay", config.drain_delay, absl::ZeroDuration(), absl::Minutes(10)));
  RETURN_IF_ERROR(
      CheckRange("--grace-period", config.grace_period, absl::ZeroDuration(), absl::Hours(1)));
  RETURN_IF_ERROR(CheckRange("--conversion-threads", config.conversion_threads, 1, 1024));
  if (config.tls_cert.empty() != config.tls_key.empty()) {
    return BadFlag(config.tls_cert.empty() ? "tls_cert" : "tls_key",
                   "is missing; certificate and key go together");
  }
  const bool tls = !config.tls_cert.empty();
  if (!tls && !config.tls_client_ca.empty()) {
    return BadFlag("tls_client_ca", "needs --tls-cert and --tls-key");
  }
  RETURN_IF_ERROR(CheckAddress("listen", config.listen, tls || config.insecure_bind,
                               "set --tls-cert and --tls-key, or --insecure-bind if a firewall or "
                               "gateway keeps strangers out"));
  if (config.metrics_listen.empty()) return absl::OkStatus();
  return CheckAddress("metrics_listen", config.metrics_listen, tls || config.insecure_bind,
                      "set --insecure-bind if a firewall or gateway keeps strangers out");
}

absl::StatusOr<ServerConfig> ConfigFromFlags() {
  ServerConfig config;
  RETURN_IF_ERROR(FillEngine(&config.engine));
  config.listen = absl::GetFlag(FLAGS_listen);
  config.metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  config.insecure_bind = absl::GetFlag(FLAGS_insecure_bind);
  config.tls_cert = absl::GetFlag(FLAGS_tls_cert);
  config.tls_key = absl::GetFlag(FLAGS_tls_key);
  config.tls_client_ca = absl::GetFlag(FLAGS_tls_client_ca);
  config.stream_stall_timeout = absl::GetFlag(FLAGS_stream_stall_timeout);
  config.drain_delay = absl::GetFlag(FLAGS_drain_delay);
  config.grace_period = absl::GetFlag(FLAGS_grace_period);
  config.conversion_root = absl::GetFlag(FLAGS_conversion_root);
  config.conversion_threads = absl::GetFlag(FLAGS_conversion_threads);
  if (config.conversion_threads == 0) {
    const int threads =
        config.engine.threads > 0 ? config.engine.threads : GetCpuInfo().usable_cores;
    config.conversion_threads = std::max(1, threads / 4);
  }
  const std::string compat = absl::GetFlag(FLAGS_metrics_compat);
  if (compat != "vllm" && compat != "none") {
    return BadFlag("metrics_compat", absl::StrCat("is \"", compat, "\"; it must be vllm or none"));
  }
  config.vllm_metrics = compat == "vllm";
  const std::string format = absl::GetFlag(FLAGS_log_format);
  if (format != "text" && format != "json") {
    return BadFlag("log_format", absl::StrCat("is \"", format, "\"; it must be text or json"));
  }
  config.log_format = format == "json" ? LogFormat::kJson : LogFormat::kText;
  RETURN_IF_ERROR(Validate(config));
  return config;
}

std::string HelpText() {
  return "Serves a language model over gRPC, with a small latent cache if it was converted.\n\n"
         "  transmla-server --model=smollm2-mla\n"
         "  transmla-server --model=model.gguf --listen=0.0.0.0:8033 --insecure-bind\n\n"
         "Then, in another terminal:  transmla chat\n"
         "SIGTERM or Ctrl-C lets running answers finish; a second one ends at once.\n"
         "Exit codes: 0 ended in order, 1 failed, 2 wrong usage.\n\n"
         "Flags, with their defaults:\n" +
         DescribeFlags("server/config.cc");
}

}  // namespace transmla
