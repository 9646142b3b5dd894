#include "engine/convert/options.h"

#include <cmath>

#include "absl/strings/str_cat.h"

#include "engine/base/check_range.h"
#include "engine/base/status.h"
#include "engine/convert/rotate.h"

namespace transmla {
namespace {

// A shard smaller than this could not hold a header and a row of any real model.
constexpr int64_t kMinShardBytes = 1 << 20;

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

absl::Status ValidateShape(const ConvertOptions& options, const ModelSpec& source) {
  const int64_t width = int64_t{source.gqa.num_key_value_heads} * source.gqa.head_dim;
  RETURN_IF_ERROR(CheckRange("qk_rope_head_dim", options.qk_rope_head_dim, 2, width));
  if (options.qk_rope_head_dim % 2 != 0)
    return absl::InvalidArgumentError(absl::StrCat("qk_rope_head_dim is ", options.qk_rope_head_dim,
                                                   " but must be even: rotary pairs are two"));
  if (options.kv_lora_rank == 0 && width <= options.qk_rope_head_dim)
    return absl::InvalidArgumentError(absl::StrCat(
        "half of this model's cache, ", width,
        " values a token and layer, is filled by a qk_rope_head_dim of ", options.qk_rope_head_dim,
        "; set kv_lora_rank, or a smaller qk_rope_head_dim"));
  RETURN_IF_ERROR(
      CheckRange("kv_lora_rank", options.kv_lora_rank, 0, 2 * width - options.qk_rope_head_dim));
  RETURN_IF_ERROR(CheckRange("q_lora_rank", options.q_lora_rank, 0,
                             int64_t{source.gqa.num_attention_heads} * source.gqa.head_dim));
  if (!std::isfinite(options.balance_kv_ratio))
    return absl::InvalidArgumentError(
        absl::StrCat("balance_kv_ratio is ", options.balance_kv_ratio, " but must be a number"));
  if (options.recipe == Recipe::kBest && options.freqfold != 0)
    return absl::InvalidArgumentError(absl::StrCat(
        "freqfold is ", options.freqfold,
        " but recipe best folds no frequencies; leave it out, or take recipe transmla"));
  if (options.recipe == Recipe::kBest && !(options.balance_kv_ratio > 0))
    return absl::InvalidArgumentError(absl::StrCat("balance_kv_ratio is ", options.balance_kv_ratio,
                                                   " but must be positive for recipe best"));
  return absl::OkStatus();
}

absl::Status ValidateText(const ConvertOptions& options, const ModelSpec& source) {
  // More would take days without changing a second moment's leading directions.
  constexpr int64_t kMaxSequences = 1 << 20;
  RETURN_IF_ERROR(CheckRange("nsamples", options.nsamples, 1, kMaxSequences));
  RETURN_IF_ERROR(CheckRange("seqlen", options.seqlen, 2, source.max_context_tokens));
  RETURN_IF_ERROR(
      CheckRange("evaluation_sequences", options.evaluation_sequences, 0, kMaxSequences));
  if (options.evaluation_sequences > 0)
    RETURN_IF_ERROR(
        CheckRange("evaluation_length", options.evaluation_length, 2, source.max_context_tokens));
  return absl::OkStatus();
}

}  // namespace

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

absl::Status ValidateOptions(const ConvertOptions& options, const ModelSpec& source) {
  if (source.attention != AttentionKind::kGqa)
    return absl::InvalidArgumentError(
        absl::StrCat("the source's attention (family ", source.family,
                     ") is latent already; give a model with grouped-query attention"));
  if (options.recipe == Recipe::kTransMla) RETURN_IF_ERROR(ValidateFolding(options, source));
  if (options.recipe != Recipe::kEquivalent) RETURN_IF_ERROR(ValidateShape(options, source));
  RETURN_IF_ERROR(ValidateText(options, source));
  if (options.dtype.has_value() && *options.dtype != DType::kF32 && *options.dtype != DType::kF16 &&
      *options.dtype != DType::kBF16)
    return absl::InvalidArgumentError(
        absl::StrCat("dtype is ", DTypeName(*options.dtype), " but must be f32, f16 or bf16"));
  if (options.max_shard_bytes < kMinShardBytes)
    return absl::InvalidArgumentError(absl::StrCat("max_shard_bytes is ", options.max_shard_bytes,
                                                   " but must be at least ", kMinShardBytes));
  return absl::OkStatus();
}

}  // namespace transmla
