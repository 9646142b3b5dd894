#include "engine/convert/latent_checkpoint.h"

#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "engine/base/check.h"
#include "engine/tensor/block_formats.h"

namespace transmla {
namespace {

NamedTensor MakeTensor(std::string name, const Shape& shape, absl::Span<const double> values,
                       DType dtype) {
  CHECK_EQ(shape.elements(), static_cast<int64_t>(values.size()));
  NamedTensor result{std::move(name), HostTensor(dtype, shape)};
  const int64_t cols = shape.cols();
  std::vector<float> row(cols);
  for (int64_t i = 0; i < shape.rows(); ++i) {
    for (int64_t j = 0; j < cols; ++j) row[j] = static_cast<float>(values[i * cols + j]);
    CHECK_OK(QuantizeRow(dtype, row, result.tensor.as<char>() + i * RowBytes(dtype, cols)));
  }
  return result;
}

NamedTensor MakeTensor(std::string name, const Matrix& m, DType dtype) {
  return MakeTensor(std::move(name), Shape({m.rows(), m.cols()}), m.values(), dtype);
}

NamedTensor MakeTensor(std::string name, const std::vector<double>& v, DType dtype) {
  return MakeTensor(std::move(name), Shape({static_cast<int64_t>(v.size())}), v, dtype);
}

// Appends a vector that is there.
void AppendIfAny(std::string name, const std::vector<double>& v, DType dtype,
                 std::vector<NamedTensor>& tensors) {
  if (!v.empty()) tensors.push_back(MakeTensor(std::move(name), v, dtype));
}

absl::string_view TorchName(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return "float16";
    case DType::kBF16:
      return "bfloat16";
    default:
      return "float32";
  }
}

nlohmann::ordered_json RopeScalingJson(const RopeScaling& scaling) {
  nlohmann::ordered_json json;
  json["rope_type"] = scaling.type;
  json["factor"] = scaling.factor;
  if (scaling.type == "llama3") {
    json["low_freq_factor"] = scaling.low_freq_factor;
    json["high_freq_factor"] = scaling.high_freq_factor;
  }
  if (scaling.type == "yarn") {
    json["beta_fast"] = scaling.beta_fast;
    json["beta_slow"] = scaling.beta_slow;
    if (scaling.mscale) json["mscale"] = *scaling.mscale;
    if (scaling.mscale_all_dim) json["mscale_all_dim"] = *scaling.mscale_all_dim;
    if (scaling.attention_factor) json["attention_factor"] = *scaling.attention_factor;
  }
  if (scaling.type == "longrope") {
    if (scaling.attention_factor) json["attention_factor"] = *scaling.attention_factor;
    json["short_factor"] = scaling.short_factor;
    json["long_factor"] = scaling.long_factor;
  }
  if (scaling.original_max_position_embeddings > 0)
    json["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
  return json;
}

void SetExperts(const ModelSpec& spec, Config& config) {
  config.n_routed_experts = spec.moe.num_experts;
  config.num_experts_per_tok = spec.moe.num_experts_per_tok;
  config.moe_intermediate_size = spec.moe.intermediate_size;
  config.norm_topk_prob = spec.moe.norm_topk_prob;
  config.first_k_dense_replace = 0;
  config.decoder_sparse_step = 1;
  config.moe_layer_freq = 1;
  config.mlp_only_layers.clear();
  for (int layer = 0; layer < spec.num_layers; ++layer)
    if (!spec.HasExperts(layer)) config.mlp_only_layers.push_back(layer);
}

void AppendExperts(const Config& config, nlohmann::ordered_json& json) {
  json["n_routed_experts"] = config.n_routed_experts;
  json["num_experts_per_tok"] = config.num_experts_per_tok;
  json["moe_intermediate_size"] = config.moe_intermediate_size;
  json["norm_topk_prob"] = config.norm_topk_prob;
  json["scoring_func"] = "softmax";
  // Where absent, DeepSeek's default is not 0.
  json["first_k_dense_replace"] = config.first_k_dense_replace;
  if (!config.mlp_only_layers.empty()) json["mlp_only_layers"] = config.mlp_only_layers;
}

// What transformers' DeepseekV3Config would otherwise fill in as the real DeepSeek-V3 has it.
void AppendDeepseekV3(const Config& config, nlohmann::ordered_json& json) {
  json["first_k_dense_replace"] = config.first_k_dense_replace;
  // No layer has experts; their numbers must be there and valid.
  for (const char* key :
       {"n_routed_experts", "n_shared_experts", "num_experts_per_tok", "n_group", "topk_group"})
    json[key] = 1;
  json["moe_intermediate_size"] = config.intermediate_size;
  json["pad_token_id"] = nullptr;
  for (const char* key : {"bos_token_id", "eos_token_id"})
    if (!json.contains(key)) json[key] = nullptr;
}

// What the result takes over from its source, under the names of docs/checkpoint_format.md.
void SetTakenFeatures(const ModelSpec& spec, Config& config) {
  config.hidden_act = std::string(ActivationName(spec.activation));
  // Frequencies are tensors, the score's divisor is in attention_scale.
  config.partial_rotary_factor = 1;
  config.rope_local_base_freq.reset();
  config.query_pre_attn_scalar.reset();
  if (config.rope_scaling && config.rope_scaling->type == "longrope") {
    // What it does beyond frequencies, in words that do not need them.
    config.rope_scaling =
        RopeScaling{.type = "yarn", .factor = 1, .attention_factor = spec.rope_magnitude};
  }
  config.sliding_window.reset();
  config.sliding_window_pattern = 0;
  config.layer_is_windowed.clear();
  for (int layer = 0; spec.HasWindow() && layer < spec.num_layers; ++layer) {
    const int window = spec.WindowOf(layer);
    config.layer_is_windowed.push_back(window > 0);
    if (window > 0) config.sliding_window = window;  // alike in all layers that have one
  }
  const auto cap = [](float value) {
    return value > 0 ? std::optional<double>(value) : std::nullopt;
  };
  config.attn_logit_softcapping = cap(spec.attention_soft_cap);
  config.final_logit_softcapping = cap(spec.final_soft_cap);
  config.embedding_multiplier = spec.embedding_scale;
  config.source_head_dim = spec.qk_norm ? spec.gqa.head_dim : 0;
  config.source_num_key_value_heads = spec.qk_norm ? spec.gqa.num_key_value_heads : 0;
}

void AppendTakenFeatures(const Config& config, nlohmann::ordered_json& json) {
  if (config.sliding_window) {
    json["sliding_window"] = *config.sliding_window;
    for (const bool windowed : config.layer_is_windowed)
      json["layer_types"].push_back(windowed ? "sliding_attention" : "full_attention");
  }
  if (config.attn_logit_softcapping)
    json["attn_logit_softcapping"] = *config.attn_logit_softcapping;
  if (config.final_logit_softcapping)
    json["final_logit_softcapping"] = *config.final_logit_softcapping;
  if (config.embedding_multiplier != 1) json["embedding_multiplier"] = config.embedding_multiplier;
  if (config.source_head_dim > 0) {
    json["source_head_dim"] = config.source_head_dim;
    json["source_num_key_value_heads"] = config.source_num_key_value_heads;
  }
}

}  // namespace

std::string FrequencyName(int layer) {
  return absl::StrCat("model.layers.", layer, ".self_attn.rotary_emb.inv_freq");
}

std::vector<NamedTensor> LatentTensors(int layer, const LatentWeights& weights, DType dtype) {
  const std::string prefix = absl::StrCat("model.layers.", layer, ".self_attn.");
  const std::string q =
      prefix + (weights.q_a.empty() && !weights.behind_norms ? "q_proj" : "q_b_proj");
  std::vector<NamedTensor> tensors;
  if (!weights.q_a.empty())
    tensors.push_back(MakeTensor(prefix + "q_a_proj.weight", weights.q_a, dtype));
  AppendIfAny(prefix + "q_a_proj.bias", weights.q_a_bias, dtype, tensors);
  AppendIfAny(prefix + "q_a_layernorm.weight", weights.q_a_norm, dtype, tensors);
  tensors.push_back(MakeTensor(q + ".weight", weights.q, dtype));
  AppendIfAny(q + ".bias", weights.q_bias, dtype, tensors);
  tensors.push_back(MakeTensor(prefix + "kv_a_proj_with_mqa.weight", weights.kv_a, dtype));
  AppendIfAny(prefix + "kv_a_proj_with_mqa.bias", weights.kv_a_bias, dtype, tensors);
  AppendIfAny(prefix + "kv_a_layernorm.weight", weights.kv_a_norm, dtype, tensors);
  tensors.push_back(MakeTensor(prefix + "kv_b_proj.weight", weights.kv_b, dtype));
  AppendIfAny(prefix + "o_proj.bias", weights.o_bias, dtype, tensors);
  if (!weights.o.empty()) tensors.push_back(MakeTensor(prefix + "o_proj.weight", weights.o, dtype));
  AppendIfAny(FrequencyName(layer),
              std::vector<double>(weights.inv_freq.begin(), weights.inv_freq.end()), DType::kF32,
              tensors);
  return tensors;
}

std::vector<TensorInfo> LatentTensorInfos(int layer, const ModelSpec& source, const MlaSpec& mla,
                                          const LatentBiases& biases, DType dtype) {
  const std::string prefix = absl::StrCat("model.layers.", layer, ".self_attn.");
  const std::string q = prefix + (mla.q_lora_rank > 0 || source.qk_norm ? "q_b_proj" : "q_proj");
  const int64_t hidden = source.hidden_size;
  // What queries and cache rows are made of.
  const int64_t q_cols = source.qk_norm        ? int64_t{source.gqa.head_dim}
                         : mla.q_lora_rank > 0 ? int64_t{mla.q_lora_rank}
                                               : hidden;
  const int64_t kv_cols =
      source.qk_norm ? 2 * int64_t{source.gqa.num_key_value_heads} * source.gqa.head_dim : hidden;
  const int64_t heads = mla.num_attention_heads;
  const int64_t q_rows = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
  const int64_t kv_rows = mla.kv_lora_rank + mla.qk_rope_head_dim;
  std::vector<TensorInfo> infos;
  if (mla.q_lora_rank > 0)
    infos.push_back({prefix + "q_a_proj.weight", dtype, Shape({mla.q_lora_rank, hidden})});
  if (mla.latent_norm) {
    infos.push_back({prefix + "q_a_proj.bias", dtype, Shape({mla.q_lora_rank})});
    infos.push_back({prefix + "q_a_layernorm.weight", dtype, Shape({mla.q_lora_rank})});
  }
  infos.push_back({q + ".weight", dtype, Shape({q_rows, q_cols})});
  if (biases.query) infos.push_back({q + ".bias", dtype, Shape({q_rows})});
  infos.push_back({prefix + "kv_a_proj_with_mqa.weight", dtype, Shape({kv_rows, kv_cols})});
  if (biases.latent) infos.push_back({prefix + "kv_a_proj_with_mqa.bias", dtype, Shape({kv_rows})});
  if (mla.latent_norm)
    infos.push_back({prefix + "kv_a_layernorm.weight", dtype, Shape({mla.kv_lora_rank})});
  infos.push_back({prefix + "kv_b_proj.weight", dtype,
                   Shape({heads * (mla.qk_nope_head_dim + mla.v_head_dim), mla.kv_lora_rank})});
  if (biases.output) infos.push_back({prefix + "o_proj.bias", dtype, Shape({hidden})});
  return infos;
}

Config LatentConfig(const SourceWeights& source, const MlaSpec& mla, const LatentBiases& biases,
                    double attention_scale) {
  const ModelSpec& spec = source.spec();
  Config config = source.checkpoint().config();
  config.architecture = "TransMlaForCausalLM";
  config.model_type = "transmla";
  config.num_key_value_heads = spec.gqa.num_attention_heads;
  config.head_dim = mla.qk_rope_head_dim;
  config.attention_bias = biases.query || biases.latent;
  config.tie_word_embeddings = spec.tie_word_embeddings;
  if (spec.moe.num_experts > 0) SetExperts(spec, config);
  SetTakenFeatures(spec, config);
  config.kv_lora_rank = mla.kv_lora_rank;
  config.q_lora_rank = mla.q_lora_rank;
  config.qk_nope_head_dim = mla.qk_nope_head_dim;
  config.qk_rope_head_dim = mla.qk_rope_head_dim;
  config.v_head_dim = mla.v_head_dim;
  config.rope_interleave = true;
  config.has_latent_norm = mla.latent_norm;
  config.attention_scale = attention_scale;
  config.source_cache_values_per_token =
      2 * int64_t{spec.gqa.num_key_value_heads} * spec.gqa.head_dim;
  return config;
}

std::string ConfigJson(const Config& config, DType dtype) {
  nlohmann::ordered_json json;
  json["architectures"] = {config.architecture};
  json["model_type"] = config.model_type;
  json["torch_dtype"] = std::string(TorchName(dtype));
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  if (config.n_routed_experts > 0) AppendExperts(config, json);
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.num_key_value_heads;
  json["head_dim"] = config.head_dim;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["hidden_act"] = config.hidden_act;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["rope_theta"] = config.rope_theta;
  json["rope_scaling"] =
      config.rope_scaling ? RopeScalingJson(*config.rope_scaling) : nlohmann::ordered_json(nullptr);
  json["rope_interleave"] = config.rope_interleave;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["attention_bias"] = config.attention_bias;
  json["kv_lora_rank"] = config.kv_lora_rank;
  json["q_lora_rank"] = config.q_lora_rank > 0 ? nlohmann::ordered_json(config.q_lora_rank)
                                               : nlohmann::ordered_json(nullptr);
  json["qk_nope_head_dim"] = config.qk_nope_head_dim;
  json["qk_rope_head_dim"] = config.qk_rope_head_dim;
  json["v_head_dim"] = config.v_head_dim;
  json["qk_latent_layernorm"] = config.has_latent_norm;
  if (config.attention_scale) json["attention_scale"] = *config.attention_scale;
  AppendTakenFeatures(config, json);
  json["source_cache_values_per_token"] = config.source_cache_values_per_token;
  if (config.bos_token_id) json["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_ids.size() == 1) json["eos_token_id"] = config.eos_token_ids[0];
  if (config.eos_token_ids.size() > 1) json["eos_token_id"] = config.eos_token_ids;
  if (config.model_type == "deepseek_v3") AppendDeepseekV3(config, json);
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

LatentCheckpoint::LatentCheckpoint(const SourceWeights& source, Config config)
    : path_(absl::StrCat(source.checkpoint().path(), " (converted, in memory)")),
      config_(std::move(config)),
      source_(source.shared_checkpoint()) {
  for (const KeptTensor& kept : source.kept()) {
    const absl::StatusOr<TensorView> view = SourceView(*source_, kept);
    CHECK_OK(view.status());
    if (kept.offset != 0) {
      AddShifted(kept, *view);
      continue;
    }
    infos_.push_back({kept.name, view->dtype, view->shape});
    views_.emplace_back(kept.name, *view);
  }
}

void LatentCheckpoint::AddShifted(const KeptTensor& kept, const TensorView& stored) {
  HostTensor tensor(DType::kF32, stored.shape);
  const absl::Span<float> values(tensor.as<float>(), stored.shape.elements());
  DequantizeRow(stored.dtype, stored.data, values);
  for (float& value : values) value += kept.offset;
  infos_.push_back({kept.name, tensor.dtype(), tensor.shape()});
  views_.emplace_back(kept.name, tensor.view());
  owned_.push_back(std::move(tensor));
}

void LatentCheckpoint::Own(NamedTensor named) {
  for (size_t i = 0; i < views_.size(); ++i) {
    if (views_[i].first != named.name) continue;
    infos_.erase(infos_.begin() + static_cast<std::ptrdiff_t>(i));
    views_.erase(views_.begin() + static_cast<std::ptrdiff_t>(i));
    break;
  }
  infos_.push_back({named.name, named.tensor.dtype(), named.tensor.shape()});
  views_.emplace_back(named.name, named.tensor.view());
  owned_.push_back(std::move(named.tensor));
}

void LatentCheckpoint::AddLayer(int layer, const LatentWeights& weights) {
  for (NamedTensor& named : LatentTensors(layer, weights, DType::kF32)) Own(std::move(named));
}

void LatentCheckpoint::AddFrequencies(const std::vector<std::vector<float>>& inv_freq) {
  for (size_t layer = 0; layer < inv_freq.size(); ++layer)
    Own(MakeTensor(FrequencyName(static_cast<int>(layer)),
                   std::vector<double>(inv_freq[layer].begin(), inv_freq[layer].end()),
                   DType::kF32));
}

absl::StatusOr<TensorView> LatentCheckpoint::Tensor(absl::string_view name) const {
  for (const auto& [known, view] : views_) {
    if (known == name) return view;
  }
  return absl::NotFoundError(absl::StrCat(path_, ": no tensor ", name));
}

}  // namespace transmla
