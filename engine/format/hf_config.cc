#include "engine/format/hf_config.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "engine/format/json_check.h"
#include "engine/format/limits.h"

namespace transmla {
namespace {

using nlohmann::json;

// Rates and scales beyond this are typing errors, whatever they multiply.
constexpr double kLargestFactor = 1e6;
constexpr double kLargestPeriod = 1e30;  // nothing turns in any context, and float32 holds it

// The fields of one JSON object, read with ranges. Keys whose value is null count as absent, as in
// Python.
class Fields {
 public:
  // `prefix` names the object inside its file: "" or "rope_scaling.".
  Fields(const std::string& path, std::string prefix, const json& object)
      : path_(path), prefix_(std::move(prefix)), object_(object) {}

  const json* Find(const char* key) const {
    const auto it = object_.find(key);
    return it == object_.end() || it->is_null() ? nullptr : &*it;
  }

  absl::Status Invalid(absl::string_view key, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat(path_, ": ", prefix_, key, " ", what));
  }

  // What a value is, for messages; long ones are cut.
  static std::string Show(const json& value) {
    return value.dump(-1, ' ', /*ensure_ascii=*/true, json::error_handler_t::replace).substr(0, 64);
  }

  absl::Status ReadInt(const char* key, int64_t least, int64_t most, int64_t& value) const {
    const json* found = Find(key);
    if (found == nullptr) return Invalid(key, "is missing");
    return ToInt(key, *found, least, most, value);
  }
  // As ReadInt, but leaves `value` alone if the key is absent.
  absl::Status ReadIntIfPresent(const char* key, int64_t least, int64_t most,
                                int64_t& value) const {
    const json* found = Find(key);
    return found == nullptr ? absl::OkStatus() : ToInt(key, *found, least, most, value);
  }
  absl::Status ReadIntIfPresent(const char* key, int64_t least, int64_t most,
                                std::optional<int64_t>& value) const {
    const json* found = Find(key);
    return found == nullptr ? absl::OkStatus() : ToInt(key, *found, least, most, value.emplace());
  }

  absl::Status ReadFloatIfPresent(const char* key, double least, double most, double& value) const {
    const json* found = Find(key);
    return found == nullptr ? absl::OkStatus() : ToFloat(key, *found, least, most, value);
  }
  absl::Status ReadFloatIfPresent(const char* key, double least, double most,
                                  std::optional<double>& value) const {
    const json* found = Find(key);
    return found == nullptr ? absl::OkStatus() : ToFloat(key, *found, least, most, value.emplace());
  }

  absl::Status ReadBoolIfPresent(const char* key, bool& value) const {
    const json* found = Find(key);
    if (found == nullptr) return absl::OkStatus();
    if (!found->is_boolean())
      return Invalid(key, absl::StrCat("is ", Show(*found), ", not a bool"));
    value = found->get<bool>();
    return absl::OkStatus();
  }

  absl::Status ReadStringIfPresent(const char* key, std::string& value) const {
    const json* found = Find(key);
    if (found == nullptr) return absl::OkStatus();
    if (!found->is_string()) {
      return Invalid(key, absl::StrCat("is ", Show(*found), ", not a string"));
    }
    value = found->get<std::string>();
    return absl::OkStatus();
  }

  // An array of numbers.
  absl::Status ReadFloats(const char* key, double least, double most,
                          std::vector<double>& values) const {
    const json* found = Find(key);
    if (found == nullptr) return Invalid(key, "is missing");
    if (!found->is_array() || found->empty())
      return Invalid(key, absl::StrCat("is ", Show(*found), ", not an array of numbers"));
    for (const json& element : *found)
      RETURN_IF_ERROR(ToFloat(key, element, least, most, values.emplace_back()));
    return absl::OkStatus();
  }

  // One integer or an array of them.
  absl::Status ReadIntsIfPresent(const char* key, int64_t least, int64_t most,
                                 std::vector<int64_t>& values) const {
    const json* found = Find(key);
    if (found == nullptr) return absl::OkStatus();
    const json list = found->is_array() ? *found : json::array({*found});
    std::vector<int64_t> read;
    for (const json& element : list) {
      RETURN_IF_ERROR(ToInt(key, element, least, most, read.emplace_back()));
    }
    values = std::move(read);
    return absl::OkStatus();
  }

 private:
  absl::Status ToInt(const char* key, const json& value, int64_t least, int64_t most,
                     int64_t& result) const {
    // Unsigned numbers above INT64_MAX would turn negative.
    const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t{INT64_MAX}
                                                 : value.is_number_integer();
    if (!fits || value.get<int64_t>() < least || value.get<int64_t>() > most) {
      return Invalid(
          key, absl::StrCat("is ", Show(value), ", not an integer from ", least, " to ", most));
    }
    result = value.get<int64_t>();
    return absl::OkStatus();
  }

  absl::Status ToFloat(const char* key, const json& value, double least, double most,
                       double& result) const {
    if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most)) {
      return Invalid(key,
                     absl::StrCat("is ", Show(value), ", not a number from ", least, " to ", most));
    }
    result = value.get<double>();
    return absl::OkStatus();
  }

  const std::string& path_;
  const std::string prefix_;
  const json& object_;
};

absl::Status ReadIdentity(const Fields& fields, Config& c) {
  if (const json* names = fields.Find("architectures"); names != nullptr) {
    if (!names->is_array() || names->empty() || !names->front().is_string()) {
      return fields.Invalid("architectures",
                            absl::StrCat("is ", Fields::Show(*names), ", not an array of names"));
    }
    c.architecture = names->front().get<std::string>();
  } else {
    return fields.Invalid("architectures", "is missing");
  }
  RETURN_IF_ERROR(fields.ReadStringIfPresent("model_type", c.model_type));
  if (fields.Find("text_config") != nullptr) {
    return absl::UnimplementedError(
        fields
            .Invalid("text_config",
                     "describes one part of a larger model; only plain text "
                     "models are supported")
            .message());
  }
  if (fields.Find("quantization_config") != nullptr) {
    return absl::UnimplementedError(fields
                                        .Invalid("quantization_config",
                                                 "says that the weights are quantised; use the "
                                                 "original checkpoint or a GGUF file")
                                        .message());
  }
  return absl::OkStatus();
}

absl::Status ReadSizes(const Fields& fields, Config& c) {
  RETURN_IF_ERROR(fields.ReadInt("vocab_size", 1, kMaxVocabSize, c.vocab_size));
  RETURN_IF_ERROR(fields.ReadInt("hidden_size", 1, kMaxHiddenSize, c.hidden_size));
  RETURN_IF_ERROR(
      fields.ReadInt("intermediate_size", 1, kMaxIntermediateSize, c.intermediate_size));
  RETURN_IF_ERROR(fields.ReadInt("num_hidden_layers", 1, kMaxLayers, c.num_hidden_layers));
  RETURN_IF_ERROR(fields.ReadInt("num_attention_heads", 1, kMaxHeads, c.num_attention_heads));
  c.num_key_value_heads = c.num_attention_heads;
  RETURN_IF_ERROR(
      fields.ReadIntIfPresent("num_key_value_heads", 1, kMaxHeads, c.num_key_value_heads));
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    return fields.Invalid("num_key_value_heads",
                          absl::StrCat("is ", c.num_key_value_heads, ", which does not divide ",
                                       "num_attention_heads = ", c.num_attention_heads));
  }
  if (fields.Find("head_dim") == nullptr && fields.Find("kv_lora_rank") == nullptr &&
      c.hidden_size % c.num_attention_heads != 0) {
    return fields.Invalid(
        "num_attention_heads",
        absl::StrCat("is ", c.num_attention_heads, ", which does not divide ",
                     "hidden_size = ", c.hidden_size, ", and there is no head_dim"));
  }
  c.head_dim = std::max<int64_t>(1, c.hidden_size / c.num_attention_heads);
  RETURN_IF_ERROR(fields.ReadIntIfPresent("head_dim", 1, kMaxHeadDim, c.head_dim));
  // The default of LlamaConfig, which such files rely on.
  c.max_position_embeddings = 2048;
  RETURN_IF_ERROR(fields.ReadIntIfPresent("max_position_embeddings", 1, kMaxContext,
                                          c.max_position_embeddings));
  RETURN_IF_ERROR(fields.ReadFloatIfPresent("rms_norm_eps", 0.0, 1.0, c.rms_norm_eps));
  RETURN_IF_ERROR(fields.ReadBoolIfPresent("attention_bias", c.attention_bias));
  RETURN_IF_ERROR(fields.ReadStringIfPresent("hidden_act", c.hidden_act));
  RETURN_IF_ERROR(fields.ReadStringIfPresent("hidden_activation", c.hidden_act));
  RETURN_IF_ERROR(fields.ReadIntsIfPresent("eos_token_id", 0, c.vocab_size - 1, c.eos_token_ids));
  return fields.ReadIntIfPresent("bos_token_id", 0, c.vocab_size - 1, c.bos_token_id);
}

// What scores and logits go through.
absl::Status ReadScores(const Fields& fields, Config& c) {
  for (const auto& [key, value] :
       {std::pair{"query_pre_attn_scalar", &c.query_pre_attn_scalar},
        std::pair{"attn_logit_softcapping", &c.attn_logit_softcapping},
        std::pair{"final_logit_softcapping", &c.final_logit_softcapping}}) {
    RETURN_IF_ERROR(fields.ReadFloatIfPresent(key, 1e-3, kLargestFactor, *value));
  }
  return absl::OkStatus();
}

// Which layers attend to a window, of how many positions.
absl::Status ReadWindows(const Fields& fields, Config& c) {
  bool use_window = true;  // Qwen2 gives a window and switches it off
  RETURN_IF_ERROR(fields.ReadBoolIfPresent("use_sliding_window", use_window));
  std::optional<int64_t> window;
  RETURN_IF_ERROR(fields.ReadIntIfPresent("sliding_window", 1, kMaxContext, window));
  if (use_window) c.sliding_window = window;
  // Newer files of such models hide the number behind an underscore.
  for (const char* key : {"sliding_window_pattern", "_sliding_window_pattern"}) {
    RETURN_IF_ERROR(fields.ReadIntIfPresent(key, 1, kMaxLayers, c.sliding_window_pattern));
  }
  const json* types = fields.Find("layer_types");
  if (types == nullptr) return absl::OkStatus();
  if (!types->is_array() || static_cast<int64_t>(types->size()) != c.num_hidden_layers) {
    return fields.Invalid("layer_types", absl::StrCat("is ", Fields::Show(*types),
                                                      ", not an array of one name for each of the ",
                                                      c.num_hidden_layers, " layers"));
  }
  for (const json& type : *types) {
    if (type != "sliding_attention" && type != "full_attention") {
      return absl::UnimplementedError(
          fields
              .Invalid("layer_types", absl::StrCat("names ", Fields::Show(type), "; ",
                                                   "sliding_attention and full_attention are "
                                                   "supported"))
              .message());
    }
    c.layer_is_windowed.push_back(type == "sliding_attention");
  }
  return absl::OkStatus();
}

absl::Status ReadExperts(const Fields& fields, Config& c) {
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    RETURN_IF_ERROR(fields.ReadIntIfPresent(key, 0, kMaxExperts, c.n_routed_experts));
  }
  RETURN_IF_ERROR(
      fields.ReadIntIfPresent("num_experts_per_tok", 0, kMaxExperts, c.num_experts_per_tok));
  RETURN_IF_ERROR(fields.ReadIntIfPresent("moe_intermediate_size", 1, kMaxIntermediateSize,
                                          c.moe_intermediate_size));
  RETURN_IF_ERROR(fields.ReadBoolIfPresent("norm_topk_prob", c.norm_topk_prob));
  RETURN_IF_ERROR(
      fields.ReadIntIfPresent("first_k_dense_replace", 0, kMaxLayers, c.first_k_dense_replace));
  RETURN_IF_ERROR(
      fields.ReadIntIfPresent("decoder_sparse_step", 1, kMaxLayers, c.decoder_sparse_step));
  RETURN_IF_ERROR(fields.ReadIntIfPresent("n_shared_experts", 0, kMaxExperts, c.n_shared_experts));
  RETURN_IF_ERROR(fields.ReadFloatIfPresent("routed_scaling_factor", 1e-6, kLargestFactor,
                                            c.routed_scaling_factor));
  RETURN_IF_ERROR(fields.ReadStringIfPresent("scoring_func", c.scoring_func));
  RETURN_IF_ERROR(fields.ReadStringIfPresent("topk_method", c.topk_method));
  RETURN_IF_ERROR(fields.ReadIntIfPresent("n_group", 1, kMaxExperts, c.n_group));
  RETURN_IF_ERROR(fields.ReadIntIfPresent("topk_group", 1, kMaxExperts, c.topk_group));
  RETURN_IF_ERROR(fields.ReadIntIfPresent("moe_layer_freq", 1, kMaxLayers, c.moe_layer_freq));
  return fields.ReadIntsIfPresent("mlp_only_layers", 0, c.num_hidden_layers - 1, c.mlp_only_layers);
}

absl::Status ReadLatent(const Fields& fields, Config& c) {
  RETURN_IF_ERROR(fields.ReadIntIfPresent("kv_lora_rank", 1, kMaxHiddenSize, c.kv_lora_rank));
  if (c.kv_lora_rank == 0) return absl::OkStatus();
  RETURN_IF_ERROR(fields.ReadIntIfPresent("q_lora_rank", 1, kMaxHiddenSize, c.q_lora_rank));
  RETURN_IF_ERROR(fields.ReadInt("qk_nope_head_dim", 0, kMaxHeadDim, c.qk_nope_head_dim));
  RETURN_IF_ERROR(fields.ReadInt("qk_rope_head_dim", 0, kMaxHeadDim, c.qk_rope_head_dim));
  if (c.qk_rope_head_dim % 2 != 0) {
    return fields.Invalid("qk_rope_head_dim",
                          absl::StrCat("is ", c.qk_rope_head_dim, "; rotary pairs need it even"));
  }
  if (c.qk_nope_head_dim + c.qk_rope_head_dim == 0) {
    return fields.Invalid("qk_nope_head_dim", "and qk_rope_head_dim are both 0");
  }
  RETURN_IF_ERROR(fields.ReadInt("v_head_dim", 1, kMaxHeadDim, c.v_head_dim));
  RETURN_IF_ERROR(fields.ReadBoolIfPresent("rope_interleave", c.rope_interleave));
  RETURN_IF_ERROR(fields.ReadBoolIfPresent("qk_latent_layernorm", c.has_latent_norm));
  RETURN_IF_ERROR(
      fields.ReadFloatIfPresent("attention_scale", 1e-6, kLargestFactor, c.attention_scale));
  RETURN_IF_ERROR(fields.ReadFloatIfPresent("embedding_multiplier", 1e-6, kLargestFactor,
                                            c.embedding_multiplier));
  RETURN_IF_ERROR(fields.ReadIntIfPresent("source_num_key_value_heads", 1, kMaxHeads,
                                          c.source_num_key_value_heads));
  RETURN_IF_ERROR(fields.ReadIntIfPresent("source_head_dim", 1, kMaxHeadDim, c.source_head_dim));
  return fields.ReadIntIfPresent("source_cache_values_per_token", 0, 2 * kMaxHeads * kMaxHeadDim,
                                 c.source_cache_values_per_token);
}

// What "rope_scaling" or "rope_parameters" says of one kind of layers.
struct RopeOfLayers {
  std::optional<double> theta;
  std::optional<RopeScaling> scaling;  // absent: "default"
};

absl::Status ReadRopeOfLayers(const Fields& rope, RopeOfLayers& result) {
  RopeScaling s;
  RETURN_IF_ERROR(rope.ReadFloatIfPresent("rope_theta", 1.0, 1e12, result.theta));
  RETURN_IF_ERROR(rope.ReadStringIfPresent("type", s.type));  // older files
  RETURN_IF_ERROR(
      rope.ReadStringIfPresent("rope_type", s.type));  // newer ones; rules over the other
  if (s.type.empty()) return rope.Invalid("rope_type", "is missing");
  if (s.type == "default") return absl::OkStatus();
  RETURN_IF_ERROR(rope.ReadFloatIfPresent("factor", 1e-3, kLargestFactor, s.factor));
  RETURN_IF_ERROR(
      rope.ReadFloatIfPresent("low_freq_factor", 1e-3, kLargestFactor, s.low_freq_factor));
  RETURN_IF_ERROR(
      rope.ReadFloatIfPresent("high_freq_factor", 1e-3, kLargestFactor, s.high_freq_factor));
  RETURN_IF_ERROR(rope.ReadIntIfPresent("original_max_position_embeddings", 1, kMaxContext,
                                        s.original_max_position_embeddings));
  RETURN_IF_ERROR(rope.ReadFloatIfPresent("beta_fast", 1e-3, kLargestFactor, s.beta_fast));
  RETURN_IF_ERROR(rope.ReadFloatIfPresent("beta_slow", 1e-3, kLargestFactor, s.beta_slow));
  RETURN_IF_ERROR(rope.ReadFloatIfPresent("mscale", 0.0, kLargestFactor, s.mscale));
  RETURN_IF_ERROR(rope.ReadFloatIfPresent("mscale_all_dim", 0.0, kLargestFactor, s.mscale_all_dim));
  RETURN_IF_ERROR(
      rope.ReadFloatIfPresent("attention_factor", 1e-3, kLargestFactor, s.attention_factor));
  if (s.type == "su") s.type = "longrope";  // its first name
  if (s.type == "longrope") {
    // Those of converted models are the frequencies' reciprocals, whatever rope_theta was.
    RETURN_IF_ERROR(rope.ReadFloats("short_factor", 1e-3, kLargestPeriod, s.short_factor));
    RETURN_IF_ERROR(rope.ReadFloats("long_factor", 1e-3, kLargestPeriod, s.long_factor));
  }
  result.scaling = std::move(s);
  return absl::OkStatus();
}

// Newer files of models with two kinds of layers hold an object for each, under its name in
// layer_types.
absl::Status ReadRopeByLayerType(const std::string& path, const std::string& key,
                                 const json& object, Config& c) {
  const auto read = [&](const char* kind, RopeOfLayers& rope) -> absl::Status {
    const Fields kinds(path, absl::StrCat(key, "."), object);
    const json* found = kinds.Find(kind);
    if (found == nullptr || !found->is_object()) return kinds.Invalid(kind, "is not an object");
    return ReadRopeOfLayers(Fields(path, absl::StrCat(key, ".", kind, "."), *found), rope);
  };
  RopeOfLayers full, windowed;
  RETURN_IF_ERROR(read("full_attention", full));
  RETURN_IF_ERROR(read("sliding_attention", windowed));
  if (windowed.scaling) {
    return absl::UnimplementedError(
        absl::StrCat(path, ": ", key, ".sliding_attention.rope_type is \"", windowed.scaling->type,
                     "\"; layers with a window are supported with \"default\" only"));
  }
  c.rope_theta = full.theta.value_or(c.rope_theta);
  c.rope_scaling = std::move(full.scaling);
  c.rope_local_base_freq = windowed.theta.value_or(c.rope_theta);
  return absl::OkStatus();
}

// "rope_scaling", or "rope_parameters" of newer files, which holds rope_theta too.
absl::Status ReadRope(const std::string& path, const Fields& fields, Config& c) {
  RETURN_IF_ERROR(fields.ReadFloatIfPresent("rope_theta", 1.0, 1e12, c.rope_theta));
  RETURN_IF_ERROR(
      fields.ReadFloatIfPresent("rope_local_base_freq", 1.0, 1e12, c.rope_local_base_freq));
  RETURN_IF_ERROR(
      fields.ReadFloatIfPresent("partial_rotary_factor", 0.0, 1.0, c.partial_rotary_factor));
  const char* key = fields.Find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  const json* object = fields.Find(key);
  if (object == nullptr) return absl::OkStatus();
  if (!object->is_object()) {
    return fields.Invalid(key, absl::StrCat("is ", Fields::Show(*object), ", not an object"));
  }
  if (object->contains("full_attention")) return ReadRopeByLayerType(path, key, *object, c);
  RopeOfLayers rope;
  RETURN_IF_ERROR(ReadRopeOfLayers(Fields(path, absl::StrCat(key, "."), *object), rope));
  c.rope_theta = rope.theta.value_or(c.rope_theta);
  if (!rope.scaling) return absl::OkStatus();
  c.rope_scaling = std::move(rope.scaling);
  if (c.rope_scaling->type != "longrope") return absl::OkStatus();
  // phi3 has it beside the object.
  return fields.ReadIntIfPresent("original_max_position_embeddings", 1, kMaxContext,
                                 c.rope_scaling->original_max_position_embeddings);
}

// CheckJson has passed, so the tree exists.
json ParseChecked(absl::string_view text) {
  return json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
}

}  // namespace

absl::StatusOr<HfConfig> ParseHfConfig(const std::string& path, absl::string_view text) {
  RETURN_IF_ERROR(CheckJson(path, text));
  const json root = ParseChecked(text);
  const Fields fields(path, "", root);
  HfConfig result;
  Config& c = result.config;
  RETURN_IF_ERROR(ReadIdentity(fields, c));
  RETURN_IF_ERROR(ReadSizes(fields, c));
  RETURN_IF_ERROR(ReadWindows(fields, c));
  RETURN_IF_ERROR(ReadScores(fields, c));
  RETURN_IF_ERROR(ReadExperts(fields, c));
  RETURN_IF_ERROR(ReadLatent(fields, c));
  RETURN_IF_ERROR(ReadRope(path, fields, c));
  result.gives_tie_word_embeddings = fields.Find("tie_word_embeddings") != nullptr;
  RETURN_IF_ERROR(fields.ReadBoolIfPresent("tie_word_embeddings", c.tie_word_embeddings));
  return result;
}

absl::Status ApplyGenerationConfig(const std::string& path, absl::string_view text,
                                   Config& config) {
  RETURN_IF_ERROR(CheckJson(path, text));
  const json root = ParseChecked(text);
  const Fields fields(path, "", root);
  RETURN_IF_ERROR(
      fields.ReadIntsIfPresent("eos_token_id", 0, config.vocab_size - 1, config.eos_token_ids));
  RETURN_IF_ERROR(fields.ReadFloatIfPresent("temperature", 0.0, 100.0, config.default_temperature));
  RETURN_IF_ERROR(fields.ReadFloatIfPresent("top_p", 0.0, 1.0, config.default_top_p));
  RETURN_IF_ERROR(fields.ReadIntIfPresent("top_k", 0, kMaxVocabSize, config.default_top_k));
  return fields.ReadFloatIfPresent("repetition_penalty", 1e-3, 100.0,
                                   config.default_repetition_penalty);
}

}  // namespace transmla
