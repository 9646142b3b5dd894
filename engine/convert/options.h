// ConvertOptions: everything a conversion is asked for. The command line, the RPC and tests fill
// the same struct.
#ifndef TRANSMLA_ENGINE_CONVERT_OPTIONS_H_
#define TRANSMLA_ENGINE_CONVERT_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/model/model_spec.h"
#include "engine/tensor/dtype.h"

namespace transmla {

enum class Recipe {
  kEquivalent,  // lossless: logits equal up to rounding, cache no larger than the source's
  kTransMla,    // the published one (arXiv 2502.07864): RoRoPE, FreqFold, BKV-PCA
  kBest,        // ours: complex rotations and a low rank, weighed by what scores and outputs see
};

absl::string_view RecipeName(Recipe recipe);  // "equivalent", "transmla", "best"
std::optional<Recipe> ParseRecipe(absl::string_view name);

// What the result is written as.
enum class OutputFormat {
  kTransMla,  // a Hugging Face folder: config.json, safetensors, the tokenizer's files
  // Such a folder as transformers' own DeepseekV3ForCausalLM loads it: norms of latents made
  // harmless, one set of frequencies for all layers.
  kDeepseekV3,
  kGguf,  // a folder with model.gguf; of a GGUF source only
  // The same as llama.cpp's architecture deepseek2, which it runs itself; recipe transmla on models
  // without biases, experts and scaled RoPE.
  kGgufDeepseek2,
};
inline constexpr OutputFormat kOutputFormats[] = {OutputFormat::kTransMla,
                                                  OutputFormat::kDeepseekV3, OutputFormat::kGguf,
                                                  OutputFormat::kGgufDeepseek2};

absl::string_view OutputFormatName(OutputFormat format);  // "transmla", "deepseek-v3", "gguf", …
inline bool IsGguf(OutputFormat format) {
  return format == OutputFormat::kGguf || format == OutputFormat::kGgufDeepseek2;
}
std::optional<OutputFormat> ParseOutputFormat(absl::string_view name);
std::string OutputFormatChoice();  // all of them, for messages

// Whether new weights can be written as `dtype`.
bool CanBeWritten(DType dtype, OutputFormat format);
std::string DTypeChoice(OutputFormat format);  // those types, for messages

struct ConvertOptions {
  std::string source;       // GGUF file or Hugging Face folder
  std::string destination;  // folder; must not exist unless `overwrite`
  bool overwrite = false;
  Recipe recipe = Recipe::kBest;

  // Shape of the result (equivalent derives its own). Names and meaning as in the published
  // converter. What is 0 is chosen by ResolveOptions.
  int qk_rope_head_dim = 0;  // rope key values a token, even; of recipe transmla, divides head_dim
  // Latent values a token. In format deepseek-v3 one of them is a constant; so with q_lora_rank.
  int kv_lora_rank = 0;
  // Instead of kv_lora_rank: cache of the result over the source's; 0: half.
  double cache_ratio = 0;
  // Instead of either: the smallest cache ratio, of sixteenths, at which perplexity rises by no
  // more than this share on text that is held back for the choice; 0: not asked for.
  double max_perplexity_increase = 0;
  int q_lora_rank = 0;  // 0: the query projection stays whole
  // Recipe best: all layers keep RoPE at the same frequencies (the others' layers do anyway).
  // Format deepseek-v3 needs it: ResolveOptions sets it.
  bool shared_frequencies = false;
  // Recipe best: output projections stay the source's, instead of being fitted to the result's
  // attention.
  bool keep_output = false;
  // Recipe transmla: neighbouring frequencies folded together; 0: chosen by perplexity on the
  // calibration text.
  int freqfold = 0;
  // Recipe transmla: times mean norm of values over that of position-free keys; <= 0: no balancing.
  // Recipe best: times the weight of position-free keys; positive.
  double balance_kv_ratio = 1.0;

  // Calibration. Text comes from `text_files` in order or, with `sample_text` instead, is written
  // by the model itself, which loses more (docs/conversion.md, section 11). Recipe equivalent needs
  // none.
  std::vector<std::string> text_files;
  bool sample_text = false;
  int nsamples = 128;  // sequences
  int seqlen = 256;    // tokens a sequence
  uint64_t seed = 42;  // of the sampled text

  // Recovery: that much of the calibration text, or more of it if nsamples · seqlen is less, trains
  // the converted attention to predict what the source predicts. 0: none.
  int64_t recovery_tokens = 0;
  // At the peak, times the root mean square of each row of the weights.
  double recovery_learning_rate = 2e-3;
  int RecoverySequences() const;  // of seqlen tokens each

  // Evaluation before and after, for the report: sequences cut one after the other from
  // `evaluation_text`, or, without it, from calibration text that calibration did not use. 0
  // sequences: no evaluation.
  std::string evaluation_text;
  int evaluation_sequences = 8;
  int evaluation_length = 512;  // tokens a sequence
  // Cache ratios that are measured besides, before recovery, for the report.
  std::vector<double> compare_ratios;
  // How many ratios are fitted besides that of the result, about.
  int TriedRatios() const {
    return static_cast<int>(compare_ratios.size()) + (max_perplexity_increase > 0 ? 4 : 0);
  }

  OutputFormat format = OutputFormat::kTransMla;
  // Type of the written weights; of GGUF, of attention's new matrices. Unset: F32 for
  // equivalent (lossless), otherwise BF16, of GGUF Q8_0, which safetensors cannot hold.
  std::optional<DType> dtype;
  int64_t max_shard_bytes = int64_t{4} << 30;
};

// InvalidArgument unless there is text to calibrate on: files, or, in so many words, the model's
// own. What conversions need and plans do not.
absl::Status CheckTextIsNamed(const ConvertOptions& options);

// InvalidArgument naming option, value and limit if `options` cannot be applied to a model of these
// features. Shapes that are left out are not looked at.
absl::Status ValidateOptions(const ConvertOptions& options, const ModelSpec& source);

// `options` with the shape filled in, and valid; errors as ValidateOptions.
absl::StatusOr<ConvertOptions> ResolveOptions(const ConvertOptions& options,
                                              const ModelSpec& source);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_OPTIONS_H_
