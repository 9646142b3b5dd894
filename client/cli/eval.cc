// transmla eval: perplexity of a model on disk.
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "client/cli/command.h"
#include "client/cli/local_flags.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "engine/base/clock.h"
#include "engine/base/status.h"
#include "engine/evaluate_model.h"

ABSL_FLAG(int, sequences, 40, "Sequences cut one after the other from the text");
ABSL_FLAG(int, length, 512, "Tokens a sequence");
ABSL_FLAG(bool, quantised_activations, false,
          "Round activations to 8 bits, as the server does on the CPU");
ABSL_FLAG(bool, expanded_attention, false,
          "Attend over latents expanded to keys and values of every head");

namespace transmla {
namespace {

absl::StatusOr<EvaluateModelOptions> OptionsFromFlags(const std::string& model) {
  const std::vector<std::string> text = absl::GetFlag(FLAGS_text);
  if (text.size() != 1) return UsageError("eval needs --text FILE");
  const std::string dtype = absl::GetFlag(FLAGS_cache_dtype).value_or("f32");
  const std::optional<DType> cache = ParseCacheDType(dtype);
  if (!cache) {
    return UsageError(
        absl::StrFormat("--cache-dtype is '%s'; it must be %s", dtype, kCacheDTypeChoice));
  }
  return EvaluateModelOptions{.model_path = model,
                              .text_path = text[0],
                              .sequences = absl::GetFlag(FLAGS_sequences),
                              .length = absl::GetFlag(FLAGS_length),
                              .device = absl::GetFlag(FLAGS_device),
                              .threads = absl::GetFlag(FLAGS_threads),
                              .cache_dtype = *cache,
                              .quantised_activations = absl::GetFlag(FLAGS_quantised_activations),
                              .expanded_attention = absl::GetFlag(FLAGS_expanded_attention)};
}

absl::Status Run(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 1, "transmla eval MODEL --text FILE [--flags]"));
  ASSIGN_OR_RETURN(const EvaluateModelOptions options, OptionsFromFlags(arguments[0]));
  CatchInterrupt();
  ProgressLine progress;
  const absl::Time start = SystemClock()->Now();
  ASSIGN_OR_RETURN(const PerplexityResult result, EvaluateModel(options, [&](int done, int total) {
                     const absl::Duration spent = SystemClock()->Now() - start;
                     progress.Show(absl::StrFormat("sequence %d of %d", done, total),
                                   static_cast<double>(done) / total,
                                   spent * (total - done) / std::max(done, 1));
                     return !Interrupted();
                   }));
  progress.Finish();
  const double seconds = absl::ToDoubleSeconds(SystemClock()->Now() - start);
  if (JsonWanted()) {
    PrintJson({{"model", options.model_path},
               {"perplexity", result.perplexity},
               {"tokens", result.tokens},
               {"sequences", result.tokens / (options.length - 1)},
               {"length", options.length},
               {"seconds", seconds}});
  } else {
    PrintNow(absl::StrFormat("perplexity %.4f over %d tokens (%.1f s)\n", result.perplexity,
                             result.tokens, seconds));
  }
  return absl::OkStatus();
}

}  // namespace

const Command kEvalCommand = {
    .name = "eval",
    .summary = "measure a model's perplexity on a text",
    .help =
        "Usage: transmla eval MODEL --text FILE [--flags]\n\n"
        "Cuts the tokenised text into sequences one after the other; the loss counts every "
        "position but the first of each.\n\n"
        "  --sequences N         how many (40)\n"
        "  --length N            tokens each (512)\n"
        "  --cache-dtype T       f32, f16, bf16 or int8 (f32)\n"
        "  --quantised-activations  round activations to 8 bits, as the server does on the CPU "
        "(off)\n"
        "  --expanded-attention  attend over latents expanded to keys and values of every head "
        "(off)\n"
        "  --json                print an object with perplexity and tokens\n"
        "  --device D            cpu or cuda:N (cpu)\n"
        "  --threads N           processor threads (all usable cores)\n\n"
        "Example: transmla eval SmolLM2-135M-Instruct.Q4_1.gguf --text eval.txt --json\n",
    .run = Run,
};

}  // namespace transmla
