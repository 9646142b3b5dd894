#include "engine/convert/report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

namespace transmla {
namespace {

nlohmann::ordered_json LayerJson(const LayerReport& layer) {
  nlohmann::ordered_json json;
  json["layer"] = layer.layer;
  json["rope_key_energy_kept"] = layer.rope_key_energy_kept;
  json["key_error"] = layer.key_error;
  json["value_error"] = layer.value_error;
  if (!layer.cost_left.empty()) json["cost_left"] = layer.cost_left;
  return json;
}

nlohmann::ordered_json QualityJson(const QualityReport& quality) {
  nlohmann::ordered_json json;
  json["tokens"] = quality.tokens;
  json["perplexity_before"] = quality.perplexity_before;
  json["perplexity_after"] = quality.perplexity_after;
  json["kl_divergence"] = quality.kl_divergence;
  json["greedy_agreement"] = quality.greedy_agreement;
  json["max_logit_difference"] = quality.max_logit_difference;
  return json;
}

nlohmann::ordered_json RatiosJson(const std::vector<RatioReport>& ratios) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const RatioReport& ratio : ratios) {
    nlohmann::ordered_json entry;
    entry["cache_ratio"] = ratio.cache_ratio;
    entry["qk_rope_head_dim"] = ratio.qk_rope_head_dim;
    entry["kv_lora_rank"] = ratio.kv_lora_rank;
    entry["cache_bytes_per_token"] = ratio.cache_bytes_per_token;
    entry["quality"] = QualityJson(ratio.quality);
    json.push_back(std::move(entry));
  }
  return json;
}

void AppendRatios(absl::string_view title, const std::vector<RatioReport>& ratios,
                  std::string* text) {
  if (ratios.empty()) return;
  absl::StrAppend(
      text, title, "\n",
      "  ratio  rope  latent  bytes a token  perplexity  increase  KL (nats)  agreement\n");
  for (const RatioReport& ratio : ratios)
    absl::StrAppendFormat(
        text, "%7.4f  %4d  %6d  %13d  %10.4f  %7.2f%%  %9.5f  %8.2f%%\n", ratio.cache_ratio,
        ratio.qk_rope_head_dim, ratio.kv_lora_rank, ratio.cache_bytes_per_token,
        ratio.quality.perplexity_after,
        100 * (ratio.quality.perplexity_after / ratio.quality.perplexity_before - 1),
        ratio.quality.kl_divergence, 100 * ratio.quality.greedy_agreement);
}

void AppendLayers(const std::vector<LayerReport>& layers, std::string* text) {
  absl::StrAppend(text, "layer  rope energy kept  key error  value error\n");
  for (const LayerReport& layer : layers)
    absl::StrAppendFormat(text, "%5d  %15.1f%%  %8.2f%%  %10.2f%%\n", layer.layer,
                          100 * layer.rope_key_energy_kept, 100 * layer.key_error,
                          100 * layer.value_error);
}

void AppendQuality(const QualityReport& quality, std::string* text) {
  absl::StrAppendFormat(text, "perplexity       %.4f before, %.4f after (%d tokens)\n",
                        quality.perplexity_before, quality.perplexity_after, quality.tokens);
  absl::StrAppendFormat(text, "KL divergence    %.5f nats a token\n", quality.kl_divergence);
  absl::StrAppendFormat(text, "greedy agreement %.2f %%\n", 100 * quality.greedy_agreement);
  absl::StrAppendFormat(text, "largest logit difference %.3g\n", quality.max_logit_difference);
}

}  // namespace

std::string ConversionReport::ToJson() const {
  nlohmann::ordered_json json;
  json["source"] = source;
  json["destination"] = destination;
  json["recipe"] = recipe;
  json["family"] = family;
  json["format"] = format;
  json["dtype"] = dtype;
  if (!matrix_types.empty()) json["matrix_types"] = matrix_types;
  json["num_layers"] = num_layers;
  json["qk_rope_head_dim"] = qk_rope_head_dim;
  json["qk_nope_head_dim"] = qk_nope_head_dim;
  json["v_head_dim"] = v_head_dim;
  json["kv_lora_rank"] = kv_lora_rank;
  json["q_lora_rank"] = q_lora_rank;
  json["latent_width"] = latent_width;
  json["freqfold"] = freqfold;
  if (perplexity_partial_rope) json["perplexity_partial_rope"] = *perplexity_partial_rope;
  json["calibration_tokens"] = calibration_tokens;
  json["calibration_source"] = calibration_source;
  json["cache_bytes_per_token_before"] = cache_bytes_per_token_before;
  json["cache_bytes_per_token_after"] = cache_bytes_per_token_after;
  json["layers"] = nlohmann::ordered_json::array();
  for (const LayerReport& layer : layers) json["layers"].push_back(LayerJson(layer));
  if (recovery) {
    json["recovery"] = {{"tokens", recovery->tokens},
                        {"resumed_tokens", recovery->resumed_tokens},
                        {"kl_first", recovery->kl_first},
                        {"kl_last", recovery->kl_last}};
  }
  if (quality) json["quality"] = QualityJson(*quality);
  if (!tried.empty()) json["tried"] = RatiosJson(tried);
  if (!compared.empty()) json["compared"] = RatiosJson(compared);
  json["resumed_layers"] = resumed_layers;
  json["seconds"] = seconds;
  json["peak_memory_bytes"] = peak_memory_bytes;
  json["bytes_written"] = bytes_written;
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

std::string ConversionReport::ToText() const {
  std::string text;
  absl::StrAppendFormat(&text, "%s → %s\n", source, destination);
  absl::StrAppendFormat(&text, "recipe           %s, %d layers of family %s\n", recipe, num_layers,
                        family);
  absl::StrAppendFormat(
      &text, "attention        latent %d, rope key %d, head %d + %d, value %d%s\n", kv_lora_rank,
      qk_rope_head_dim, qk_nope_head_dim, qk_rope_head_dim, v_head_dim,
      q_lora_rank > 0 ? absl::StrCat(", query rank ", q_lora_rank) : "");
  absl::StrAppendFormat(
      &text, "written as       %s, %s\n", format,
      matrix_types.empty() ? dtype : absl::StrJoin(matrix_types, ", ", absl::PairFormatter(" ")));
  absl::StrAppendFormat(&text, "cache            %d bytes a token before, %d after (%.1f %%)\n",
                        cache_bytes_per_token_before, cache_bytes_per_token_after,
                        100.0 * static_cast<double>(cache_bytes_per_token_after) /
                            static_cast<double>(cache_bytes_per_token_before));
  if (calibration_tokens > 0)
    absl::StrAppendFormat(&text, "calibration      %d tokens, %s\n", calibration_tokens,
                          calibration_source);
  // Measured: docs/conversion.md section 11.
  if (calibration_source == kSampledText &&
      cache_bytes_per_token_after < cache_bytes_per_token_before) {
    text += "advice           real text (--text) loses less\n";
  }
  if (freqfold > 0) absl::StrAppendFormat(&text, "freqfold         %d\n", freqfold);
  if (!layers.empty()) AppendLayers(layers, &text);
  if (perplexity_partial_rope)
    absl::StrAppendFormat(&text, "perplexity       %.4f with partial RoPE, before the low rank\n",
                          *perplexity_partial_rope);
  if (recovery)
    absl::StrAppendFormat(&text, "recovery         %d tokens, KL from %.4f to %.4f nats a token\n",
                          recovery->tokens, recovery->kl_first, recovery->kl_last);
  if (recovery && recovery->resumed_tokens > 0)
    absl::StrAppendFormat(&text, "resumed          behind %d tokens of recovery\n",
                          recovery->resumed_tokens);
  if (quality) AppendQuality(*quality, &text);
  AppendRatios("cache ratios tried, on text held back to choose:", tried, &text);
  AppendRatios("cache ratios compared, on the evaluation text:", compared, &text);
  if (resumed_layers > 0)
    absl::StrAppendFormat(&text, "resumed          behind %d layers of calibration\n",
                          resumed_layers);
  if (seconds > 0)
    absl::StrAppendFormat(
        &text, "took             %.1f s, %.0f MB of memory at most, %.0f MB written\n", seconds,
        static_cast<double>(peak_memory_bytes) / 1e6, static_cast<double>(bytes_written) / 1e6);
  return text;
}

}  // namespace transmla
