#include "engine/format/gguf_config.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/format/limits.h"

namespace transmla {
namespace {

// Token ids fit the vocabulary; the vocabulary is not known before its array is read.
constexpr int64_t kMaxTokenId = kMaxVocabSize - 1;

// Published are 30 and 50.
constexpr double kLargestSoftCap = 1e6;

// Published is the root of hidden_size.
constexpr double kLargestEmbeddingScale = 1e6;

// Of attention: 1 / sqrt(head_dim), unless a model has a scale of its own.
constexpr double kLeastScoreScale = 1e-6;
constexpr double kLargestScoreScale = 1e6;

class ConfigReader {
 public:
  explicit ConfigReader(const GgufContents& contents)
      : contents_(contents), metadata_(contents.metadata) {}

  absl::StatusOr<Config> Read() {
    ASSIGN_OR_RETURN(const absl::string_view architecture,
                     metadata_.GetString("general.architecture"));
    config_.architecture = std::string(architecture);
    config_.model_type = config_.architecture;
    if (metadata_.Has("general.name")) {
      ASSIGN_OR_RETURN(const absl::string_view name, metadata_.GetString("general.name"));
      config_.name = std::string(name);
    }
    RETURN_IF_ERROR(ReadSizes());
    RETURN_IF_ERROR(ReadWindows());
    RETURN_IF_ERROR(ReadExperts());
    RETURN_IF_ERROR(ReadTaken());
    RETURN_IF_ERROR(ReadHeadDims());
    RETURN_IF_ERROR(ReadLatent());
    RETURN_IF_ERROR(ReadRope());
    RETURN_IF_ERROR(ReadVocabulary());
    config_.tie_word_embeddings = !HasTensor("output.weight");
    config_.attention_bias = HasTensor("blk.0.attn_q.bias");
    return std::move(config_);
  }

 private:
  std::string Key(absl::string_view name) const {
    return absl::StrCat(config_.architecture, ".", name);
  }

  bool HasTensor(absl::string_view name) const { return FindTensor(name) != nullptr; }
  const GgufTensor* FindTensor(absl::string_view name) const {
    const auto it = std::find_if(contents_.tensors.begin(), contents_.tensors.end(),
                                 [&](const GgufTensor& t) { return t.info.name == name; });
    return it == contents_.tensors.end() ? nullptr : &*it;
  }

  absl::Status ReadInt(const std::string& key, int64_t least, int64_t most, int64_t& value) const {
    ASSIGN_OR_RETURN(value, metadata_.GetInt(key, least, most));
    return absl::OkStatus();
  }
  // As ReadInt, but leaves `value` alone if there is no such key.
  absl::Status ReadIntIfPresent(const std::string& key, int64_t least, int64_t most,
                                int64_t& value) const {
    return metadata_.Has(key) ? ReadInt(key, least, most, value) : absl::OkStatus();
  }
  absl::Status ReadFloatIfPresent(const std::string& key, double least, double most,
                                  double& value) const {
    if (!metadata_.Has(key)) return absl::OkStatus();
    ASSIGN_OR_RETURN(value, metadata_.GetFloat(key));
    if (value < least || value > most) {
      return absl::InvalidArgumentError(absl::StrCat(metadata_.path(), ": metadata ", key, " is ",
                                                     value, ", outside ", least, " to ", most));
    }
    return absl::OkStatus();
  }

  absl::Status ReadPerLayer(const std::string& key, int64_t most, int64_t& value) const;
  absl::Status ReadSizes();
  absl::Status ReadWindows();
  absl::Status ReadExperts();
  absl::Status ReadTaken();
  absl::Status ReadSoftCap(const std::string& key, std::optional<double>& cap) const;
  absl::Status ReadHeadDims();
  absl::Status ReadLatent();
  absl::Status ReadRope();
  absl::Status ReadVocabulary();

  const GgufContents& contents_;
  const GgufMetadata& metadata_;
  Config config_;
};

// An integer, or an array with the same integer for each layer.
absl::Status ConfigReader::ReadPerLayer(const std::string& key, int64_t most,
                                        int64_t& value) const {
  const GgufValue* found = metadata_.Find(key);
  if (found == nullptr || found->type != GgufType::kArray) return ReadInt(key, 1, most, value);
  ASSIGN_OR_RETURN(const std::vector<int64_t> values, metadata_.GetInts(key));
  if (values.empty() || values.front() < 1 || values.front() > most) {
    return absl::InvalidArgumentError(
        absl::StrCat(metadata_.path(), ": metadata ", key, " has ", values.size(),
                     " elements; wanted one from 1 to ", most, " for each layer"));
  }
  if (std::any_of(values.begin(), values.end(), [&](int64_t v) { return v != values.front(); })) {
    return absl::UnimplementedError(absl::StrCat(
        metadata_.path(), ": metadata ", key, " differs between layers, which is not supported"));
  }
  value = values.front();
  return absl::OkStatus();
}

absl::Status ConfigReader::ReadSizes() {
  Config& c = config_;
  RETURN_IF_ERROR(ReadInt(Key("block_count"), 1, kMaxLayers, c.num_hidden_layers));
  RETURN_IF_ERROR(ReadInt(Key("embedding_length"), 1, kMaxHiddenSize, c.hidden_size));
  RETURN_IF_ERROR(
      ReadPerLayer(Key("feed_forward_length"), kMaxIntermediateSize, c.intermediate_size));
  RETURN_IF_ERROR(ReadPerLayer(Key("attention.head_count"), kMaxHeads, c.num_attention_heads));
  c.num_key_value_heads = c.num_attention_heads;
  if (metadata_.Has(Key("attention.head_count_kv"))) {
    RETURN_IF_ERROR(ReadPerLayer(Key("attention.head_count_kv"), kMaxHeads, c.num_key_value_heads));
  }
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(metadata_.path(), ": metadata ", Key("attention.head_count_kv"), " is ",
                     c.num_key_value_heads, ", which does not divide ", Key("attention.head_count"),
                     " = ", c.num_attention_heads));
  }
  RETURN_IF_ERROR(ReadInt(Key("context_length"), 1, kMaxContext, c.max_position_embeddings));
  RETURN_IF_ERROR(
      ReadFloatIfPresent(Key("attention.layer_norm_rms_epsilon"), 0.0, 1.0, c.rms_norm_eps));
  RETURN_IF_ERROR(ReadSoftCap(Key("attn_logit_softcapping"), c.attn_logit_softcapping));
  RETURN_IF_ERROR(ReadSoftCap(Key("final_logit_softcapping"), c.final_logit_softcapping));
  return absl::OkStatus();
}

// Every that many layers one sees all positions, or for each layer whether it has a window.
absl::Status ConfigReader::ReadWindows() {
  Config& c = config_;
  int64_t window = 0;
  RETURN_IF_ERROR(ReadIntIfPresent(Key("attention.sliding_window"), 0, kMaxContext, window));
  if (window > 0) c.sliding_window = window;
  const std::string key = Key("attention.sliding_window_pattern");
  const GgufValue* found = metadata_.Find(key);
  if (found == nullptr || found->type != GgufType::kArray) {
    return ReadIntIfPresent(key, 1, kMaxLayers, c.sliding_window_pattern);
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> layers, metadata_.GetInts(key));
  if (static_cast<int64_t>(layers.size()) != c.num_hidden_layers) {
    return absl::InvalidArgumentError(absl::StrCat(metadata_.path(), ": metadata ", key, " has ",
                                                   layers.size(), " elements; ", Key("block_count"),
                                                   " is ", c.num_hidden_layers));
  }
  c.layer_is_windowed.assign(layers.begin(), layers.end());
  return absl::OkStatus();
}

// What converted models say, since their sources have it (docs/checkpoint_format.md).
absl::Status ConfigReader::ReadTaken() {
  Config& c = config_;
  RETURN_IF_ERROR(ReadFloatIfPresent(Key("embedding_scale"), 1e-6, kLargestEmbeddingScale,
                                     c.embedding_multiplier));
  if (metadata_.Has(Key("hidden_activation"))) {
    ASSIGN_OR_RETURN(const absl::string_view name, metadata_.GetString(Key("hidden_activation")));
    c.hidden_act = std::string(name);
  }
  RETURN_IF_ERROR(ReadIntIfPresent(Key("attention.source_head_count_kv"), 1, kMaxHeads,
                                   c.source_num_key_value_heads));
  return ReadIntIfPresent(Key("attention.source_key_length"), 1, kMaxHeadDim, c.source_head_dim);
}

absl::Status ConfigReader::ReadExperts() {
  Config& c = config_;
  RETURN_IF_ERROR(ReadIntIfPresent(Key("expert_count"), 0, kMaxExperts, c.n_routed_experts));
  RETURN_IF_ERROR(
      ReadIntIfPresent(Key("expert_used_count"), 0, kMaxExperts, c.num_experts_per_tok));
  RETURN_IF_ERROR(ReadIntIfPresent(Key("expert_feed_forward_length"), 0, kMaxIntermediateSize,
                                   c.moe_intermediate_size));
  if (metadata_.Has(Key("expert_weights_norm"))) {
    ASSIGN_OR_RETURN(c.norm_topk_prob, metadata_.GetBool(Key("expert_weights_norm")));
  }
  // A layer without a router has no experts.
  for (int64_t i = 0; c.n_routed_experts > 0 && i < c.num_hidden_layers; ++i) {
    if (!HasTensor(absl::StrCat("blk.", i, ".ffn_gate_inp.weight"))) c.mlp_only_layers.push_back(i);
  }
  return ReadIntIfPresent(Key("leading_dense_block_count"), 0, kMaxLayers, c.first_k_dense_replace);
}

absl::Status ConfigReader::ReadSoftCap(const std::string& key, std::optional<double>& cap) const {
  double value = 0;
  RETURN_IF_ERROR(ReadFloatIfPresent(key, 0.0, kLargestSoftCap, value));
  if (value > 0) cap = value;
  return absl::OkStatus();
}

absl::Status ConfigReader::ReadHeadDims() {
  Config& c = config_;
  if (metadata_.Has(Key("attention.key_length"))) {
    RETURN_IF_ERROR(ReadInt(Key("attention.key_length"), 1, kMaxHeadDim, c.head_dim));
  } else {
    if (c.hidden_size % c.num_attention_heads != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(metadata_.path(), ": metadata ", Key("attention.head_count"), " is ",
                       c.num_attention_heads, ", which does not divide ", Key("embedding_length"),
                       " = ", c.hidden_size, ", and there is no ", Key("attention.key_length")));
    }
    c.head_dim = c.hidden_size / c.num_attention_heads;
  }
  return absl::OkStatus();
}

absl::Status ConfigReader::ReadLatent() {
  Config& c = config_;
  RETURN_IF_ERROR(
      ReadIntIfPresent(Key("attention.kv_lora_rank"), 0, kMaxHiddenSize, c.kv_lora_rank));
  int64_t rotary = c.head_dim;
  RETURN_IF_ERROR(ReadIntIfPresent(Key("rope.dimension_count"), 1, kMaxHeadDim, rotary));
  if (c.kv_lora_rank == 0) {
    int64_t value_dim = c.head_dim;
    RETURN_IF_ERROR(ReadIntIfPresent(Key("attention.value_length"), 1, kMaxHeadDim, value_dim));
    if (value_dim != c.head_dim || rotary > c.head_dim) {
      return absl::UnimplementedError(absl::StrCat(
          metadata_.path(), ": heads with keys of ", c.head_dim, ", values of ", value_dim, " and ",
          rotary, " rotary dimensions are not supported; keys and ",
          "values must be equally wide, and no less than what turns"));
    }
    c.partial_rotary_factor = static_cast<double>(rotary) / static_cast<double>(c.head_dim);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ReadIntIfPresent(Key("attention.q_lora_rank"), 0, kMaxHiddenSize, c.q_lora_rank));
  // Newer files give the dimensions of the expanded heads under _mla names.
  int64_t key_dim = c.head_dim;
  RETURN_IF_ERROR(ReadIntIfPresent(Key("attention.key_length_mla"), 1, kMaxHeadDim, key_dim));
  c.v_head_dim = key_dim;
  RETURN_IF_ERROR(ReadIntIfPresent(Key("attention.value_length"), 1, kMaxHeadDim, c.v_head_dim));
  RETURN_IF_ERROR(
      ReadIntIfPresent(Key("attention.value_length_mla"), 1, kMaxHeadDim, c.v_head_dim));
  if (rotary > key_dim) {
    return absl::InvalidArgumentError(absl::StrCat(metadata_.path(), ": metadata ",
                                                   Key("rope.dimension_count"), " is ", rotary,
                                                   ", more than the key's ", key_dim));
  }
  c.qk_rope_head_dim = rotary;
  c.qk_nope_head_dim = key_dim - rotary;
  c.has_latent_norm = HasTensor("blk.0.attn_kv_a_norm.weight");
  if (metadata_.Has(Key("attention.scale"))) {
    RETURN_IF_ERROR(ReadFloatIfPresent(Key("attention.scale"), kLeastScoreScale, kLargestScoreScale,
                                       c.attention_scale.emplace()));
  }
  return ReadIntIfPresent(Key("attention.source_cache_values"), 0, 2 * kMaxHiddenSize,
                          c.source_cache_values_per_token);
}

absl::Status ConfigReader::ReadRope() {
  Config& c = config_;
  RETURN_IF_ERROR(ReadFloatIfPresent(Key("rope.freq_base"), 1.0, 1e12, c.rope_theta));
  if (metadata_.Has(Key("rope.freq_base_swa"))) {
    RETURN_IF_ERROR(
        ReadFloatIfPresent(Key("rope.freq_base_swa"), 1.0, 1e12, c.rope_local_base_freq.emplace()));
  }
  RopeScaling scaling;
  if (HasTensor("rope_factors_long.weight")) {
    scaling.type = "longrope";  // nothing else says so
  } else if (metadata_.Has(Key("rope.scaling.type"))) {
    ASSIGN_OR_RETURN(const absl::string_view type, metadata_.GetString(Key("rope.scaling.type")));
    scaling.type = std::string(type);
  }
  if (scaling.type.empty() || scaling.type == "none") return absl::OkStatus();
  RETURN_IF_ERROR(ReadFloatIfPresent(Key("rope.scaling.factor"), 1e-3, 1e6, scaling.factor));
  RETURN_IF_ERROR(ReadIntIfPresent(Key("rope.scaling.original_context_length"), 1, kMaxContext,
                                   scaling.original_max_position_embeddings));
  const std::string attention = Key("rope.scaling.attn_factor");
  if (metadata_.Has(attention)) {
    double factor = 1;
    RETURN_IF_ERROR(ReadFloatIfPresent(attention, 1e-3, 1e3, factor));
    scaling.attention_factor = factor;
  }
  c.rope_scaling = std::move(scaling);
  return absl::OkStatus();
}

absl::Status ConfigReader::ReadVocabulary() {
  Config& c = config_;
  // The embedding's rows rule: tokenizers may list fewer tokens than the padded matrix has rows.
  if (const GgufTensor* embedding = FindTensor("token_embd.weight"); embedding != nullptr) {
    c.vocab_size = embedding->info.shape[0];
  } else if (metadata_.Has("tokenizer.ggml.tokens")) {
    ASSIGN_OR_RETURN(const auto tokens, metadata_.GetStrings("tokenizer.ggml.tokens"));
    c.vocab_size = static_cast<int64_t>(tokens.size());
  } else {
    RETURN_IF_ERROR(ReadInt(Key("vocab_size"), 1, kMaxVocabSize, c.vocab_size));
  }
  if (c.vocab_size < 1 || c.vocab_size > kMaxVocabSize) {
    return absl::InvalidArgumentError(absl::StrCat(metadata_.path(), ": the vocabulary has ",
                                                   c.vocab_size, " tokens, outside 1 to ",
                                                   kMaxVocabSize));
  }
  // End of text, of turn and of message: each ends a generation.
  for (const absl::string_view name : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    const std::string key = absl::StrCat("tokenizer.ggml.", name);
    if (!metadata_.Has(key)) continue;
    int64_t id = 0;
    RETURN_IF_ERROR(ReadInt(key, 0, std::min(kMaxTokenId, c.vocab_size - 1), id));
    if (std::find(c.eos_token_ids.begin(), c.eos_token_ids.end(), id) == c.eos_token_ids.end()) {
      c.eos_token_ids.push_back(id);
    }
  }
  if (metadata_.Has("tokenizer.ggml.bos_token_id")) {
    int64_t id = 0;
    RETURN_IF_ERROR(ReadInt("tokenizer.ggml.bos_token_id", 0, c.vocab_size - 1, id));
    c.bos_token_id = id;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Config> ConfigFromGguf(const GgufContents& contents) {
  return ConfigReader(contents).Read();
}

}  // namespace transmla
