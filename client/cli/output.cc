#include "client/cli/output.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "client/cli/terminal.h"

ABSL_FLAG(bool, json, false, "Print one JSON object instead of text");

namespace transmla {

bool JsonWanted() { return absl::GetFlag(FLAGS_json); }

void PrintJson(const nlohmann::json& object) {
  // Text from a model is valid UTF-8 by contract; names from files may not be.
  PrintNow(object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

nlohmann::json ToJson(const CompletionResult& result) {
  return {{"request_id", result.request_id},
          {"text", result.text},
          {"finish_reason", result.finish_reason},
          {"seed", result.seed},
          {"prompt_tokens", result.prompt_tokens},
          {"cached_prompt_tokens", result.cached_prompt_tokens},
          {"completion_tokens", result.completion_tokens},
          {"time_to_first_token_ms", absl::ToDoubleMilliseconds(result.time_to_first_token)},
          {"total_ms", absl::ToDoubleMilliseconds(result.total)},
          {"server_queue_ms", absl::ToDoubleMilliseconds(result.server_queue)},
          {"server_prefill_ms", absl::ToDoubleMilliseconds(result.server_prefill)},
          {"server_decode_ms", absl::ToDoubleMilliseconds(result.server_decode)}};
}

nlohmann::json ToJson(const ModelDescription& model) {
  return {{"name", model.name},
          {"family", model.family},
          {"state", model.state},
          {"attention", model.attention},
          {"vocab_size", model.vocab_size},
          {"num_layers", model.num_layers},
          {"hidden_size", model.hidden_size},
          {"num_attention_heads", model.num_attention_heads},
          {"num_key_value_heads", model.num_key_value_heads},
          {"kv_lora_rank", model.kv_lora_rank},
          {"qk_rope_head_dim", model.qk_rope_head_dim},
          {"max_context_tokens", model.max_context_tokens},
          {"device", model.device},
          {"weight_bytes", model.weight_bytes},
          {"cache_dtype", model.cache_dtype},
          {"cache_bytes_per_token", model.cache_bytes_per_token},
          {"gqa_equivalent_cache_bytes_per_token", model.gqa_equivalent_cache_bytes_per_token},
          {"cache_pages", model.cache_pages},
          {"has_chat_template", model.has_chat_template},
          {"expanded_prompts", model.expanded_prompts}};
}

std::string ToText(const ModelDescription& model) {
  return absl::StrFormat(
      "%s  (%s, %s, %s)\n"
      "  %u layers, context %u tokens, weights %s on %s\n"
      "  cache %s a token (%s), unconverted %s; room for %u tokens\n",
      model.name, model.family, model.attention, model.state, model.num_layers,
      model.max_context_tokens, HumanBytes(model.weight_bytes), model.device,
      HumanBytes(model.cache_bytes_per_token), model.cache_dtype,
      HumanBytes(model.gqa_equivalent_cache_bytes_per_token), model.cache_pages * 64);
}

std::string SpeedLine(const CompletionResult& result) {
  const double decode_seconds = absl::ToDoubleSeconds(result.total - result.time_to_first_token);
  const double speed = result.completion_tokens > 1 && decode_seconds > 0
                           ? (result.completion_tokens - 1) / decode_seconds
                           : 0;
  return absl::StrFormat("%u tokens in %.2f s: first after %.0f ms, then %.1f tokens/s",
                         result.completion_tokens, absl::ToDoubleSeconds(result.total),
                         absl::ToDoubleMilliseconds(result.time_to_first_token), speed);
}

std::string HumanBytes(uint64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat(unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
}

double Percentile(const std::vector<double>& sorted, double p) {
  const double rank = std::ceil(p * static_cast<double>(sorted.size()));
  const size_t index = static_cast<size_t>(std::max(rank, 1.0)) - 1;
  return sorted[std::min(index, sorted.size() - 1)];
}

}  // namespace transmla
