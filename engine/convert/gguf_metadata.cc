#include "engine/convert/gguf_metadata.h"

#include <cstdint>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace transmla {
namespace {

absl::string_view Architecture(OutputFormat format) {
  return format == OutputFormat::kGgufDeepseek2 ? "deepseek2" : "transmla";
}

// Of the file rather than of the model: how it is laid out, and that it is a part of one.
bool IsOfTheFile(absl::string_view key) {
  return key == "general.alignment" || absl::StartsWith(key, "split.");
}

// ggml's block formats as they have been since 2023; files with such tensors name it.
constexpr uint64_t kQuantizationVersion = 2;

GgufValue Float(double value) { return {GgufType::kFloat32, value}; }

}  // namespace

LatentGgufMetadata::LatentGgufMetadata(const ModelSpec& spec, const EmitOptions& options)
    : architecture_(Architecture(options.format)), activation_(options.config.hidden_act) {
  const Config& config = options.config;
  entries_.push_back(
      {"general.architecture", {GgufType::kString, absl::string_view(architecture_)}});
  AddSizes(config);
  AddAttention(options.mla);
  Number("attention.source_cache_values", config.source_cache_values_per_token);
  if (options.format == OutputFormat::kGgufDeepseek2) {
    // No layer has experts; llama.cpp wants to be told of those that none has.
    Number("leading_dense_block_count", spec.num_layers);
    Number("expert_shared_count", 0);
    Number("expert_feed_forward_length", 0);
    return;
  }
  Add("attention.scale", Float(*config.attention_scale));
  if (spec.rope_magnitude != 1) {
    // Frequencies are tensors; this is what scaling does beyond them, in llama.cpp's words.
    Add("rope.scaling.type", {GgufType::kString, absl::string_view("yarn")});
    Add("rope.scaling.factor", Float(1));
    Add("rope.scaling.attn_factor", Float(double{spec.rope_magnitude}));
  }
  AddTakenFeatures(config);
  AddWindows(config);
  AddExperts(config);
}

void LatentGgufMetadata::Number(absl::string_view name, int64_t value) {
  Add(name, {GgufType::kUint32, static_cast<uint64_t>(value)});
}

void LatentGgufMetadata::Add(absl::string_view name, GgufValue value) {
  entries_.push_back({absl::StrCat(architecture_, ".", name), std::move(value)});
}

void LatentGgufMetadata::AddSizes(const Config& config) {
  Number("vocab_size", config.vocab_size);
  Number("context_length", config.max_position_embeddings);
  Number("embedding_length", config.hidden_size);
  Number("block_count", config.num_hidden_layers);
  Number("feed_forward_length", config.intermediate_size);
  Number("attention.head_count", config.num_attention_heads);
  Add("attention.layer_norm_rms_epsilon", Float(config.rms_norm_eps));
  Add("rope.freq_base", Float(config.rope_theta));
}

// As llama.cpp sees latent attention: one key and value, the latent, for all heads; how wide the
// heads are once it is expanded, under names of their own.
void LatentGgufMetadata::AddAttention(const MlaSpec& mla) {
  Number("attention.head_count_kv", 1);
  Number("attention.key_length", int64_t{mla.kv_lora_rank} + mla.qk_rope_head_dim);
  Number("attention.value_length", mla.kv_lora_rank);
  Number("attention.key_length_mla", mla.qk_nope_head_dim + mla.qk_rope_head_dim);
  Number("attention.value_length_mla", mla.v_head_dim);
  Number("attention.kv_lora_rank", mla.kv_lora_rank);
  Number("attention.q_lora_rank", mla.q_lora_rank);
  Number("rope.dimension_count", mla.qk_rope_head_dim);
}

void LatentGgufMetadata::AddTakenFeatures(const Config& config) {
  if (config.attn_logit_softcapping) {
    Add("attn_logit_softcapping", Float(*config.attn_logit_softcapping));
  }
  if (config.final_logit_softcapping) {
    Add("final_logit_softcapping", Float(*config.final_logit_softcapping));
  }
  if (config.embedding_multiplier != 1) Add("embedding_scale", Float(config.embedding_multiplier));
  if (activation_ != ActivationName(Activation::kSilu)) {
    Add("hidden_activation", {GgufType::kString, absl::string_view(activation_)});
  }
  if (config.source_head_dim == 0) return;
  Number("attention.source_head_count_kv", config.source_num_key_value_heads);
  Number("attention.source_key_length", config.source_head_dim);
}

void LatentGgufMetadata::AddWindows(const Config& config) {
  if (!config.sliding_window) return;
  Number("attention.sliding_window", *config.sliding_window);
  for (const bool windowed : config.layer_is_windowed) windowed_.push_back(windowed ? 1 : 0);
  Add("attention.sliding_window_pattern",
      {GgufType::kArray, GgufArray{.element_type = GgufType::kBool,
                                   .count = static_cast<int64_t>(windowed_.size()),
                                   .scalars = windowed_}});
}

void LatentGgufMetadata::AddExperts(const Config& config) {
  if (config.n_routed_experts == 0) return;
  Number("expert_count", config.n_routed_experts);
  Number("expert_used_count", config.num_experts_per_tok);
  Number("expert_feed_forward_length", config.moe_intermediate_size);
  Add("expert_weights_norm", {GgufType::kBool, config.norm_topk_prob});
}

void LatentGgufMetadata::AddThoseOf(const GgufReader& source) {
  const std::string own = absl::StrCat(source.config().architecture, ".");
  for (const absl::string_view key : source.metadata().keys()) {
    if (key == "general.architecture" || IsOfTheFile(key) || absl::StartsWith(key, own)) continue;
    entries_.push_back({std::string(key), *source.metadata().Find(key)});
  }
}

void LatentGgufMetadata::AddThoseOf(const Config& config, const GgufTokenizer& tokenizer) {
  entries_.push_back({"general.name", {GgufType::kString, absl::string_view(config.name)}});
  entries_.push_back({"general.quantization_version", {GgufType::kUint32, kQuantizationVersion}});
  entries_.insert(entries_.end(), tokenizer.entries().begin(), tokenizer.entries().end());
}

}  // namespace transmla
