#include "engine/convert/options.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>

#include "absl/strings/str_cat.h"

#include "engine/base/check_range.h"
#include "engine/base/status.h"
#include "engine/convert/llama_cpp.h"
#include "engine/convert/rotate.h"
#include "engine/convert/stock_model.h"

namespace transmla {
namespace {

// A shard smaller than this could not hold a header and a row of any real model.
constexpr int64_t kMinShardBytes = 1 << 20;

int64_t KeyWidth(const ModelSpec& source) {
  return int64_t{source.gqa.num_key_value_heads} * source.gqa.head_dim;
}

// Values a token and layer that the result caches if no rank says otherwise.
int64_t CachedValues(const ConvertOptions& options, const ModelSpec& source) {
  const double ratio = options.cache_ratio > 0 ? options.cache_ratio : 0.5;
  return std::llround(ratio * 2 * static_cast<double>(KeyWidth(source)));
}

// How much of the cache the rope key gets. TransMLA's authors take 64 of half a cache, and about a
// third of smaller ones; recipe best, which chooses each pair, does best with a quarter
// (docs/conversion.md, section 11).
int ChooseRopeDim(const ConvertOptions& options, const ModelSpec& source) {
  const int64_t cached = CachedValues(options, source);
  if (options.recipe == Recipe::kBest)
    return static_cast<int>(std::max<int64_t>(2, cached / 8 * 2));
  constexpr int kPublished = 64;
  if (options.kv_lora_rank > 0) return kPublished;
  int dim = 2;
  for (int d = 4; d <= kPublished && 3 * d <= cached; d += 2)
    if (source.gqa.head_dim % d == 0) dim = d;
  return dim;
}

// Elements of a latent that do not come from the source.
int ConstantElements(const ConvertOptions& options) {
  return options.format == OutputFormat::kDeepseekV3 ? 1 : 0;
}

absl::Status ValidateFolding(const ConvertOptions& options, const ModelSpec& source) {
  RotationShape rotation{.num_key_value_heads = source.gqa.num_key_value_heads,
                         .head_dim = source.gqa.head_dim,
                         .qk_rope_head_dim = options.qk_rope_head_dim,
                         .freqfold = options.freqfold};
  // 0 asks for the search, which starts at the least freqfold there is.
  if (options.freqfold == 0 && options.qk_rope_head_dim > 0)
    rotation.freqfold = rotation.collapse();
  return ValidateRotation(rotation);
}

absl::Status ValidateRope(const ConvertOptions& options, const ModelSpec& source) {
  RETURN_IF_ERROR(CheckRange("qk_rope_head_dim", options.qk_rope_head_dim, 2, KeyWidth(source)));
  if (options.qk_rope_head_dim % 2 != 0)
    return absl::InvalidArgumentError(absl::StrCat("qk_rope_head_dim is ", options.qk_rope_head_dim,
                                                   " but must be even: rotary pairs are two"));
  return options.recipe == Recipe::kTransMla ? ValidateFolding(options, source) : absl::OkStatus();
}

absl::Status ValidateRecipe(const ConvertOptions& options, const ModelSpec& source) {
  if (options.q_lora_rank != 0) {
    const int constant = ConstantElements(options);
    RETURN_IF_ERROR(
        CheckRange("q_lora_rank", options.q_lora_rank, 1 + constant,
                   int64_t{source.gqa.num_attention_heads} * source.gqa.head_dim + constant));
  }
  if (options.q_lora_rank > 0 && source.qk_norm)
    return absl::InvalidArgumentError(
        absl::StrCat("q_lora_rank is ", options.q_lora_rank, ", but the ", source.family,
                     " model norms heads of queries, which needs their whole projection; leave ",
                     "q_lora_rank out"));
  if (!(options.cache_ratio >= 0 && options.cache_ratio <= 1))
    return absl::InvalidArgumentError(
        absl::StrCat("cache_ratio is ", options.cache_ratio, " but must be above 0 and at most 1"));
  if (options.cache_ratio > 0 && options.kv_lora_rank != 0)
    return absl::InvalidArgumentError(
        absl::StrCat("cache_ratio is ", options.cache_ratio, " and kv_lora_rank ",
                     options.kv_lora_rank, ", but one follows from the other; give one of them"));
  if (!(options.max_perplexity_increase >= 0 && options.max_perplexity_increase <= 100))
    return absl::InvalidArgumentError(
        absl::StrCat("max_perplexity_increase is ", options.max_perplexity_increase,
                     " but must be a share above 0, as 0.05 for 5 %, and at most 100"));
  if (options.max_perplexity_increase > 0 &&
      (options.cache_ratio > 0 || options.kv_lora_rank != 0 || options.qk_rope_head_dim != 0))
    return absl::InvalidArgumentError(
        "max_perplexity_increase chooses the cache's size; leave cache_ratio, kv_lora_rank and "
        "qk_rope_head_dim out");
  for (const double ratio : options.compare_ratios) {
    if (!(ratio > 0 && ratio <= 1))
      return absl::InvalidArgumentError(absl::StrCat(
          "compare_ratios holds ", ratio, " but its ratios must be above 0 and at most 1"));
  }
  if (!options.compare_ratios.empty() && options.evaluation_sequences == 0)
    return absl::InvalidArgumentError(
        "compare_ratios needs text to measure on; evaluation_sequences is 0");
  if (!std::isfinite(options.balance_kv_ratio))
    return absl::InvalidArgumentError(
        absl::StrCat("balance_kv_ratio is ", options.balance_kv_ratio, " but must be a number"));
  if (options.recipe != Recipe::kBest) return absl::OkStatus();
  if (options.freqfold != 0)
    return absl::InvalidArgumentError(absl::StrCat(
        "freqfold is ", options.freqfold,
        " but recipe best folds no frequencies; leave it out, or take recipe transmla"));
  if (!(options.balance_kv_ratio > 0))
    return absl::InvalidArgumentError(absl::StrCat("balance_kv_ratio is ", options.balance_kv_ratio,
                                                   " but must be positive for recipe best"));
  return absl::OkStatus();
}

absl::Status ValidateFormat(const ConvertOptions& options, const ModelSpec& source) {
  if (options.format != OutputFormat::kDeepseekV3) return absl::OkStatus();
  if (options.dtype == DType::kF16)
    return absl::InvalidArgumentError(
        "dtype is f16, whose range does not hold the large constants of format deepseek-v3; give "
        "bf16 or f32");
  return CheckStockFormat(source);
}

absl::Status ValidateText(const ConvertOptions& options, const ModelSpec& source) {
  // More would take days without changing a second moment's leading directions.
  constexpr int64_t kMaxSequences = 1 << 20;
  RETURN_IF_ERROR(CheckRange("nsamples", options.nsamples, 1, kMaxSequences));
  RETURN_IF_ERROR(CheckRange("seqlen", options.seqlen, 2, source.max_context_tokens));
  RETURN_IF_ERROR(CheckRange("recovery_tokens", options.recovery_tokens, 0, int64_t{1} << 30));
  RETURN_IF_ERROR(
      CheckRange("evaluation_sequences", options.evaluation_sequences, 0, kMaxSequences));
  if (options.evaluation_sequences > 0)
    RETURN_IF_ERROR(
        CheckRange("evaluation_length", options.evaluation_length, 2, source.max_context_tokens));
  return absl::OkStatus();
}

absl::Status ValidateRecovery(const ConvertOptions& options) {
  if (options.recovery_tokens == 0) return absl::OkStatus();
  if (options.recipe == Recipe::kEquivalent)
    return absl::InvalidArgumentError(
        absl::StrCat("recovery_tokens is ", options.recovery_tokens,
                     " but recipe equivalent loses nothing; leave it out, or take recipe best"));
  if (!(options.recovery_learning_rate > 0 && options.recovery_learning_rate <= 1))
    return absl::InvalidArgumentError(absl::StrCat("recovery_learning_rate is ",
                                                   options.recovery_learning_rate,
                                                   " but must be above 0 and at most 1"));
  return absl::OkStatus();
}

}  // namespace

int ConvertOptions::RecoverySequences() const {
  return static_cast<int>((recovery_tokens + seqlen - 1) / seqlen);
}

absl::string_view RecipeName(Recipe recipe) {
  switch (recipe) {
    case Recipe::kEquivalent:
      return "equivalent";
    case Recipe::kTransMla:
      return "transmla";
    case Recipe::kBest:
      return "best";
  }
  return "";
}

std::optional<Recipe> ParseRecipe(absl::string_view name) {
  for (const Recipe recipe : {Recipe::kEquivalent, Recipe::kTransMla, Recipe::kBest}) {
    if (name == RecipeName(recipe)) return recipe;
  }
  return std::nullopt;
}

absl::string_view OutputFormatName(OutputFormat format) {
  switch (format) {
    case OutputFormat::kTransMla:
      return "transmla";
    case OutputFormat::kDeepseekV3:
      return "deepseek-v3";
    case OutputFormat::kGguf:
      return "gguf";
    case OutputFormat::kGgufDeepseek2:
      return "gguf-deepseek2";
  }
  return "";
}

std::optional<OutputFormat> ParseOutputFormat(absl::string_view name) {
  for (const OutputFormat format : kOutputFormats) {
    if (name == OutputFormatName(format)) return format;
  }
  return std::nullopt;
}

std::string OutputFormatChoice() {
  std::string choice;
  for (const OutputFormat format : kOutputFormats) {
    const bool first = format == kOutputFormats[0];
    const bool last = format == kOutputFormats[std::size(kOutputFormats) - 1];
    absl::StrAppend(&choice, first ? "" : last ? " or " : ", ", OutputFormatName(format));
  }
  return choice;
}

bool CanBeWritten(DType dtype, OutputFormat format) {
  if (dtype == DType::kQ8_0) return IsGguf(format);
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

std::string DTypeChoice(OutputFormat format) {
  return IsGguf(format) ? "f32, f16, bf16 or q8_0" : "f32, f16 or bf16 (q8_0: as GGUF)";
}

absl::Status ValidateOptions(const ConvertOptions& options, const ModelSpec& source) {
  if (source.attention != AttentionKind::kGqa)
    return absl::InvalidArgumentError(
        absl::StrCat("the source's attention (family ", source.family,
                     ") is latent already; give a model with grouped-query attention"));
  if (options.recipe != Recipe::kEquivalent) {
    RETURN_IF_ERROR(ValidateRecipe(options, source));
  } else if (options.TriedRatios() > 0) {
    return absl::InvalidArgumentError(
        "recipe equivalent has one size of cache; take another recipe for max_perplexity_increase "
        "and compare_ratios");
  }
  RETURN_IF_ERROR(ValidateFormat(options, source));
  RETURN_IF_ERROR(ValidateText(options, source));
  RETURN_IF_ERROR(ValidateRecovery(options));
  if (options.dtype.has_value() && !CanBeWritten(*options.dtype, options.format))
    return absl::InvalidArgumentError(absl::StrCat("dtype is ", DTypeName(*options.dtype),
                                                   " but must be ", DTypeChoice(options.format)));
  if (options.format == OutputFormat::kGgufDeepseek2)
    RETURN_IF_ERROR(CheckLlamaCpp(options, source));
  if (options.max_shard_bytes < kMinShardBytes)
    return absl::InvalidArgumentError(absl::StrCat("max_shard_bytes is ", options.max_shard_bytes,
                                                   " but must be at least ", kMinShardBytes));
  return absl::OkStatus();
}

absl::Status CheckTextIsNamed(const ConvertOptions& options) {
  if (options.sample_text && !options.text_files.empty())
    return absl::InvalidArgumentError(
        "sample_text is set, but text_files names text to use instead; give one of them");
  if (options.recipe != Recipe::kEquivalent && options.text_files.empty() && !options.sample_text)
    return absl::InvalidArgumentError(absl::StrCat(
        "recipe ", RecipeName(options.recipe), " calibrates on text, and text_files names none; ",
        "name files of such text as the model will serve (--text FILE), or set sample_text ",
        "(--sample-text) and it writes its own, which loses more"));
  return absl::OkStatus();
}

absl::StatusOr<ConvertOptions> ResolveOptions(const ConvertOptions& options,
                                              const ModelSpec& source) {
  RETURN_IF_ERROR(ValidateOptions(options, source));
  if (options.recipe == Recipe::kEquivalent) return options;
  ConvertOptions resolved = options;
  if (options.format == OutputFormat::kDeepseekV3) resolved.shared_frequencies = true;
  if (resolved.qk_rope_head_dim == 0) resolved.qk_rope_head_dim = ChooseRopeDim(options, source);
  RETURN_IF_ERROR(ValidateRope(resolved, source));
  if (resolved.kv_lora_rank == 0) {
    const int64_t cached = CachedValues(options, source);
    if (cached <= resolved.qk_rope_head_dim)
      return absl::InvalidArgumentError(absl::StrCat(
          "a cache_ratio of ", options.cache_ratio > 0 ? options.cache_ratio : 0.5, ", ", cached,
          " values a token and layer of this model, is filled by a qk_rope_head_dim of ",
          resolved.qk_rope_head_dim, "; set a larger ratio, or a smaller qk_rope_head_dim"));
    resolved.kv_lora_rank = static_cast<int>(cached) - resolved.qk_rope_head_dim;
  }
  const int constant = ConstantElements(options);
  RETURN_IF_ERROR(CheckRange("kv_lora_rank", resolved.kv_lora_rank, 1 + constant,
                             2 * KeyWidth(source) - resolved.qk_rope_head_dim + constant));
  return resolved;
}

}  // namespace transmla
