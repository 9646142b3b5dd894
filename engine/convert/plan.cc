#include "engine/convert/plan.h"

#include <cmath>
#include <cstdint>

#include "engine/convert/gguf_attention.h"
#include "engine/convert/stock_layout.h"

namespace transmla {
namespace {

// Values a token and layer; caches are reported for BF16.
int64_t CacheBytesPerToken(int64_t values_per_layer, int num_layers) {
  return RowBytes(DType::kBF16, values_per_layer) * num_layers;
}

}  // namespace

MlaSpec ResolveShape(const ConvertOptions& options, const ModelSpec& source) {
  const int width = source.gqa.num_key_value_heads * source.gqa.head_dim;
  MlaSpec mla;
  mla.num_attention_heads = source.gqa.num_attention_heads;
  mla.v_head_dim = source.gqa.head_dim;
  if (options.recipe == Recipe::kEquivalent) {
    mla.kv_lora_rank = width;
    mla.qk_rope_head_dim = width;
    return mla;
  }
  mla.qk_rope_head_dim = options.qk_rope_head_dim;
  mla.qk_nope_head_dim = source.gqa.head_dim;
  // What is asked for counts the constants that the format adds.
  const int constant = options.format == OutputFormat::kDeepseekV3 ? 1 : 0;
  mla.q_lora_rank = options.q_lora_rank > 0 ? options.q_lora_rank - constant : 0;
  mla.kv_lora_rank = options.kv_lora_rank - constant;
  return mla;
}

MlaSpec WrittenShape(const ConvertOptions& options, const ModelSpec& source) {
  const MlaSpec mla = ResolveShape(options, source);
  return options.format == OutputFormat::kDeepseekV3 ? StockShape(mla, source.hidden_size) : mla;
}

LatentBiases ResolveBiases(const ConvertOptions& options, const ModelSpec& source) {
  const bool centred = options.recipe == Recipe::kBest;
  // Before norms of queries and keys, biases stay with the source's projections.
  const bool taken_in = source.qkv_bias && !source.qk_norm;
  return {
      .query = taken_in, .latent = taken_in || centred, .output = centred && !source.output_bias};
}

double ResolveAttentionScale(const ConvertOptions& options, const ModelSpec& source) {
  if (options.recipe == Recipe::kEquivalent) return source.attention_scale;
  const MlaSpec mla = ResolveShape(options, source);
  return 1 / std::sqrt(static_cast<double>(mla.qk_nope_head_dim + mla.qk_rope_head_dim));
}

DType ResolveDType(const ConvertOptions& options) {
  if (options.dtype.has_value()) return *options.dtype;
  if (options.recipe == Recipe::kEquivalent) return DType::kF32;
  return IsGguf(options.format) ? DType::kQ8_0 : DType::kBF16;
}

ConversionReport PlannedReport(const ConvertOptions& options, const ModelSpec& source) {
  const MlaSpec mla = WrittenShape(options, source);
  ConversionReport report;
  report.source = options.source;
  report.destination = options.destination;
  report.recipe = std::string(RecipeName(options.recipe));
  report.family = source.family;
  report.format = std::string(OutputFormatName(options.format));
  report.dtype = std::string(DTypeName(ResolveDType(options)));
  if (IsGguf(options.format)) {
    report.matrix_types =
        GgufMatrixTypes(source, mla, ResolveGgufTypes(ResolveDType(options), options.format));
  }
  report.num_layers = source.num_layers;
  report.qk_rope_head_dim = mla.qk_rope_head_dim;
  report.qk_nope_head_dim = mla.qk_nope_head_dim;
  report.v_head_dim = mla.v_head_dim;
  report.kv_lora_rank = mla.kv_lora_rank;
  report.latent_width =
      2 * source.gqa.num_key_value_heads * source.gqa.head_dim - mla.qk_rope_head_dim;
  report.q_lora_rank = mla.q_lora_rank;
  report.freqfold = options.recipe == Recipe::kTransMla ? options.freqfold : 0;
  report.cache_bytes_per_token_before = CacheBytesPerToken(
      2 * int64_t{source.gqa.num_key_value_heads} * source.gqa.head_dim, source.num_layers);
  report.cache_bytes_per_token_after =
      CacheBytesPerToken(int64_t{mla.kv_lora_rank} + mla.qk_rope_head_dim, source.num_layers);
  return report;
}

}  // namespace transmla
