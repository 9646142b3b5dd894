// transmla convert: a grouped-query model becomes a multi-head latent attention model, here or on a
// server.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include <nlohmann/json.hpp>

#include "client/cli/command.h"
#include "client/cli/connect.h"
#include "client/cli/local_flags.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "engine/base/status.h"
#include "engine/convert/pipeline.h"
#include "engine/engine.h"

ABSL_FLAG(std::string, recipe, "best", "best, transmla or equivalent");
ABSL_FLAG(std::string, format, "transmla",
          "What DEST holds: transmla, deepseek-v3, gguf or gguf-deepseek2");
ABSL_FLAG(bool, keep_output, false, "Recipe best: output projections stay the source's");
ABSL_FLAG(bool, shared_frequencies, false, "Recipe best: one set of frequencies for all layers");
ABSL_FLAG(bool, overwrite, false, "Replace the destination if it exists");
ABSL_FLAG(bool, dry_run, false, "Print the plan and convert nothing");
ABSL_FLAG(bool, remote, false,
          "Convert on the server at --server; paths are below its conversion root");
ABSL_FLAG(std::string, serve_as, "", "With --remote: name under which the server loads the result");
ABSL_FLAG(std::optional<int>, qk_rope_head_dim, std::nullopt, "Rope key values a token");
ABSL_FLAG(std::optional<int>, kv_lora_rank, std::nullopt, "Latent values a token");
ABSL_FLAG(std::optional<double>, cache_ratio, std::nullopt,
          "Cache of the result over the source's, instead of --kv-lora-rank");
ABSL_FLAG(std::optional<std::string>, max_perplexity_increase, std::nullopt,
          "Smallest cache at which perplexity rises by no more than this, as 5% or 0.05");
ABSL_FLAG(std::vector<std::string>, compare_ratios, {}, "Cache ratios to measure for the report");
ABSL_FLAG(int64_t, recovery_tokens, 0, "Tokens of text to train the result on; 0: none");
ABSL_FLAG(std::optional<double>, recovery_learning_rate, std::nullopt, "Size of training steps");
ABSL_FLAG(std::optional<int>, q_lora_rank, std::nullopt, "Rank of the query projection; 0: whole");
ABSL_FLAG(std::optional<int>, freqfold, std::nullopt, "Frequencies folded together; 0: chosen");
ABSL_FLAG(std::optional<double>, balance_kv_ratio, std::nullopt, "Balance of keys and values");
ABSL_FLAG(std::optional<int>, nsamples, std::nullopt, "Calibration sequences");
ABSL_FLAG(std::optional<int>, seqlen, std::nullopt, "Tokens a calibration sequence");
ABSL_FLAG(bool, sample_text, false, "Calibrate on text that the model writes itself");
ABSL_FLAG(std::optional<uint64_t>, calibration_seed, std::nullopt, "Seed of sampled text");
ABSL_FLAG(std::string, dtype, "",
          "Type of the written weights: f32, f16 or bf16; as GGUF also q8_0");
ABSL_FLAG(std::string, eval_text, "",
          "Text for the quality report; empty: held-back calibration text");
ABSL_FLAG(std::optional<int>, eval_sequences, std::nullopt, "Sequences for the report; 0: none");
ABSL_FLAG(std::optional<int>, eval_length, std::nullopt, "Tokens a sequence of the report");

namespace transmla {
namespace {

// Sets `field` if the flag was given.
template <typename Field, typename Value>
void Set(Field& field, const std::optional<Value>& value) {
  if (value) field = *value;
}

// "5%" or "0.05".
absl::StatusOr<double> ParseShare(absl::string_view flag, absl::string_view text) {
  const bool percent = absl::EndsWith(text, "%");
  double value = 0;
  if (!absl::SimpleAtod(absl::StripSuffix(text, "%"), &value) || !(value > 0)) {
    return UsageError(
        absl::StrFormat("--%s is '%s'; it must be a number above 0, as 5%% or 0.05", flag, text));
  }
  return percent ? value / 100 : value;
}

// The flags that are text and mean numbers, of a conversion here or on a server.
template <typename Options>
absl::Status SetRatios(Options& options) {
  if (const auto increase = absl::GetFlag(FLAGS_max_perplexity_increase)) {
    ASSIGN_OR_RETURN(options.max_perplexity_increase,
                     ParseShare("max-perplexity-increase", *increase));
  }
  for (const std::string& ratio : absl::GetFlag(FLAGS_compare_ratios)) {
    ASSIGN_OR_RETURN(options.compare_ratios.emplace_back(), ParseShare("compare-ratios", ratio));
  }
  return absl::OkStatus();
}

absl::StatusOr<ConvertOptions> LocalOptions(absl::Span<const std::string> arguments) {
  ConvertOptions options{.source = arguments[0], .destination = arguments[1]};
  options.overwrite = absl::GetFlag(FLAGS_overwrite);
  const std::optional<Recipe> recipe = ParseRecipe(absl::GetFlag(FLAGS_recipe));
  if (!recipe) {
    return UsageError(absl::StrFormat("--recipe is '%s'; it must be best, transmla or equivalent",
                                      absl::GetFlag(FLAGS_recipe)));
  }
  options.recipe = *recipe;
  const std::optional<OutputFormat> format = ParseOutputFormat(absl::GetFlag(FLAGS_format));
  if (!format) {
    return UsageError(absl::StrFormat("--format is '%s'; it must be %s",
                                      absl::GetFlag(FLAGS_format), OutputFormatChoice()));
  }
  options.format = *format;
  options.shared_frequencies = absl::GetFlag(FLAGS_shared_frequencies);
  options.keep_output = absl::GetFlag(FLAGS_keep_output);
  Set(options.qk_rope_head_dim, absl::GetFlag(FLAGS_qk_rope_head_dim));
  Set(options.kv_lora_rank, absl::GetFlag(FLAGS_kv_lora_rank));
  Set(options.cache_ratio, absl::GetFlag(FLAGS_cache_ratio));
  RETURN_IF_ERROR(SetRatios(options));
  options.recovery_tokens = absl::GetFlag(FLAGS_recovery_tokens);
  Set(options.recovery_learning_rate, absl::GetFlag(FLAGS_recovery_learning_rate));
  Set(options.q_lora_rank, absl::GetFlag(FLAGS_q_lora_rank));
  Set(options.freqfold, absl::GetFlag(FLAGS_freqfold));
  Set(options.balance_kv_ratio, absl::GetFlag(FLAGS_balance_kv_ratio));
  Set(options.nsamples, absl::GetFlag(FLAGS_nsamples));
  Set(options.seqlen, absl::GetFlag(FLAGS_seqlen));
  Set(options.seed, absl::GetFlag(FLAGS_calibration_seed));
  options.text_files = absl::GetFlag(FLAGS_text);
  options.sample_text = absl::GetFlag(FLAGS_sample_text);
  options.evaluation_text = absl::GetFlag(FLAGS_eval_text);
  Set(options.evaluation_sequences, absl::GetFlag(FLAGS_eval_sequences));
  Set(options.evaluation_length, absl::GetFlag(FLAGS_eval_length));
  if (const std::string dtype = absl::GetFlag(FLAGS_dtype); !dtype.empty()) {
    options.dtype = ParseDType(dtype);
    if (!options.dtype || !CanBeWritten(*options.dtype, options.format)) {
      return UsageError(
          absl::StrFormat("--dtype is '%s'; it must be %s", dtype, DTypeChoice(options.format)));
    }
  }
  return options;
}

absl::Status RunHere(const ConvertOptions& options) {
  RETURN_IF_ERROR(CheckTextIsNamed(options));
  if (absl::GetFlag(FLAGS_dry_run)) {
    ASSIGN_OR_RETURN(const ConversionReport plan, PlanConversion(options));
    PrintNow(JsonWanted() ? plan.ToJson() + "\n" : plan.ToText());
    return absl::OkStatus();
  }
  if (const int threads = absl::GetFlag(FLAGS_threads); threads > 0) {
    LimitConversionThreads(threads);
  }
  CatchInterrupt();
  ProgressLine line;
  ConversionContext context;
  context.make_backend = [] {
    return CreateBackend(absl::GetFlag(FLAGS_device), {.threads = absl::GetFlag(FLAGS_threads)});
  };
  context.on_progress = [&line](const ConversionProgress& progress) {
    std::string label(ConversionStageName(progress.stage));
    if (progress.layers > 0) {
      absl::StrAppend(&label, ", layer ", progress.layer, " of ", progress.layers);
    }
    line.Show(label, progress.ratio, progress.time_left);
  };
  context.is_cancelled = Interrupted;
  const absl::StatusOr<ConversionReport> report = Convert(options, context);
  line.Finish();
  RETURN_IF_ERROR(report.status());
  PrintNow(JsonWanted() ? report->ToJson() + "\n" : report->ToText());
  return absl::OkStatus();
}

template <typename To, typename From>
std::optional<To> As(const std::optional<From>& value) {
  if (!value) return std::nullopt;
  return static_cast<To>(*value);
}

absl::StatusOr<ConversionRequest> RemoteRequest(absl::Span<const std::string> arguments) {
  ConversionRequest request = {
      .source = arguments[0],
      .destination = arguments[1],
      .overwrite = absl::GetFlag(FLAGS_overwrite),
      .validate_only = absl::GetFlag(FLAGS_dry_run),
      .recipe = absl::GetFlag(FLAGS_recipe),
      .format = absl::GetFlag(FLAGS_format),
      .shared_frequencies = absl::GetFlag(FLAGS_shared_frequencies),
      .keep_output = absl::GetFlag(FLAGS_keep_output),
      .qk_rope_head_dim = As<uint32_t>(absl::GetFlag(FLAGS_qk_rope_head_dim)),
      .kv_lora_rank = As<uint32_t>(absl::GetFlag(FLAGS_kv_lora_rank)),
      .cache_ratio = absl::GetFlag(FLAGS_cache_ratio),
      .recovery_tokens = absl::GetFlag(FLAGS_recovery_tokens),
      .q_lora_rank = As<uint32_t>(absl::GetFlag(FLAGS_q_lora_rank)),
      .freqfold = As<uint32_t>(absl::GetFlag(FLAGS_freqfold)),
      .balance_kv_ratio = absl::GetFlag(FLAGS_balance_kv_ratio),
      .nsamples = As<uint32_t>(absl::GetFlag(FLAGS_nsamples)),
      .seqlen = As<uint32_t>(absl::GetFlag(FLAGS_seqlen)),
      .seed = absl::GetFlag(FLAGS_calibration_seed),
      .text_files = absl::GetFlag(FLAGS_text),
      .sample_text = absl::GetFlag(FLAGS_sample_text),
      .dtype = absl::GetFlag(FLAGS_dtype),
      .evaluation_sequences = As<uint32_t>(absl::GetFlag(FLAGS_eval_sequences)),
      .serve_as = absl::GetFlag(FLAGS_serve_as)};
  RETURN_IF_ERROR(SetRatios(request));
  return request;
}

// What the server decides by itself is an error, not ignored.
absl::Status CheckRemoteFlags() {
  if (!absl::GetFlag(FLAGS_eval_text).empty() || absl::GetFlag(FLAGS_eval_length) ||
      absl::GetFlag(FLAGS_recovery_learning_rate)) {
    return UsageError(
        "--eval-text, --eval-length and --recovery-learning-rate do not go with --remote");
  }
  return absl::OkStatus();
}

absl::Status RunOnServer(absl::Span<const std::string> arguments) {
  ASSIGN_OR_RETURN(const ConversionRequest request, RemoteRequest(arguments));
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, ConnectFromFlags());
  ASSIGN_OR_RETURN(ConversionState state, client->StartConversion(request));
  CatchInterrupt();
  ProgressLine line;
  while (!state.done) {
    if (Interrupted()) {
      line.Finish();
      RETURN_IF_ERROR(client->CancelConversion(state.operation));
      return absl::CancelledError(absl::StrCat("cancelled ", state.operation));
    }
    std::string label = state.stage;
    if (state.layers_total > 0) {
      absl::StrAppend(&label, ", layer ", state.layers_done, " of ", state.layers_total);
    }
    line.Show(label, state.progress_ratio, state.time_left);
    ASSIGN_OR_RETURN(state, client->WaitConversion(state.operation, absl::Milliseconds(500)));
  }
  line.Finish();
  PrintNow(state.report_json + "\n");
  RETURN_IF_ERROR(state.load_error);
  if (state.load_operation.empty()) return absl::OkStatus();
  return client->WaitLoad(state.load_operation).status();
}

absl::Status Run(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 2, "transmla convert SOURCE DEST [--flags]"));
  if (absl::GetFlag(FLAGS_remote)) {
    RETURN_IF_ERROR(CheckRemoteFlags());
    return RunOnServer(arguments);
  }
  if (!absl::GetFlag(FLAGS_serve_as).empty()) return UsageError("--serve-as needs --remote");
  ASSIGN_OR_RETURN(const ConvertOptions options, LocalOptions(arguments));
  return RunHere(options);
}

}  // namespace

const Command kConvertCommand = {
    .name = "convert",
    .summary = "convert a model to multi-head latent attention",
    .help =
        "Usage: transmla convert SOURCE DEST [--flags]\n\n"
        "SOURCE is a GGUF file or a Hugging Face folder; DEST becomes a folder with safetensors,\n"
        "config.json, the tokenizer and a report (.json, .html). Ctrl-C leaves nothing behind; "
        "what a\n"
        "killed conversion has computed, the same command takes over.\n\n"
        "  --format F            transmla: that folder (default); deepseek-v3: the same, loaded "
        "by\n"
        "                        transformers without remote code; gguf: a folder with "
        "model.gguf,\n"
        "                        in which all but attention keeps the source's own types;\n"
        "                        gguf-deepseek2: the same, for llama.cpp (recipe transmla only)\n"
        "  --recipe R            best: ours, a smaller cache with the least loss (default);\n"
        "                        transmla: the paper's;\n"
        "                        equivalent: same logits, cache of the same size\n"
        "  --shared-frequencies  recipe best: all layers keep RoPE at the same frequencies, as\n"
        "                        format deepseek-v3 needs it\n"
        "  --keep-output         recipe best: output projections stay the source's, instead of "
        "being\n"
        "                        fitted to the result's attention: faster, more loss\n"
        "  --cache-ratio X       cache of the result over the source's (0.5)\n"
        "  --max-perplexity-increase P   instead: the smallest at which perplexity, on text held\n"
        "                        back from calibration, rises by no more, as 5% or 0.05\n"
        "  --compare-ratios A,B  cache ratios to measure besides, for the report\n"
        "  --qk-rope-head-dim N  rope key values cached a token and layer (by the ratio)\n"
        "  --kv-lora-rank N      latent values cached a token and layer, instead of the ratio\n"
        "  --q-lora-rank N       low rank of the query projection (0: whole)\n"
        "  --freqfold N          recipe transmla: neighbouring frequencies folded together (0:\n"
        "                        chosen by perplexity)\n"
        "  --balance-kv-ratio X  best: weight of keys; transmla: of values, 0 for none (1)\n"
        "  --recovery-tokens N   train the result on that much of the text, to predict what "
        "SOURCE\n"
        "                        predicts: a quarter to a third of the loss for minutes of time "
        "(0)\n"
        "  --recovery-learning-rate X  size of its steps (0.002)\n"
        "  --text A,B            calibration text files, such as the model will serve\n"
        "  --sample-text         instead: the model writes its own text, with more loss\n"
        "  --nsamples N          calibration sequences (128)\n"
        "  --seqlen N            tokens a calibration sequence (256)\n"
        "  --calibration-seed N  seed of the sampled text (42)\n"
        "  --dtype T             f32, f16 or bf16 (bf16; f32 for equivalent); with --format gguf…\n"
        "                        the type of attention, also q8_0 (q8_0; f32 for equivalent)\n"
        "  --eval-text FILE --eval-sequences N --eval-length N   text of the quality report\n"
        "  --overwrite           replace DEST if it exists\n"
        "  --dry-run             print the plan and convert nothing\n"
        "  --json                print the report as JSON\n"
        "  --device D --threads N            cpu or cuda:N (cpu); processor threads (all)\n"
        "  --remote              convert on the server at --server HOST:PORT (127.0.0.1:8033) "
        "instead;\n"
        "                        paths are relative to its conversion root\n"
        "  --serve-as NAME       with --remote: the server loads the result and serves it as NAME\n"
        "  --tls                 encrypt; --tls-ca FILE, --tls-cert FILE, --tls-key FILE as "
        "needed\n\n"
        "Example: transmla convert SmolLM2-135M-Instruct.Q4_1.gguf smollm2-mla\n",
    .run = Run,
};

}  // namespace transmla
