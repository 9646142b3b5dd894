#include "engine/convert/gguf_metadata.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace transmla {
namespace {

absl::string_view Architecture(OutputFormat format) {
  return format == OutputFormat::kGgufDeepseek2 ? "deepseek2" : "transmla";
}

// Below the architecture's name; what the source has under these does not hold for the result.
constexpr absl::string_view kReplaced[] = {
    "attention.head_count_kv",       "attention.key_length",
    "attention.value_length",        "attention.key_length_mla",
    "attention.value_length_mla",    "attention.kv_lora_rank",
    "attention.q_lora_rank",         "attention.scale",
    "attention.source_cache_values", "rope.dimension_count",
    "expert_weights_norm",
};

// Of the file rather than of the model: how it is laid out, and that it is a part of one.
bool IsOfTheFile(absl::string_view key) {
  return key == "general.alignment" || absl::StartsWith(key, "split.");
}

// Below the architecture's name: what a model without experts and scaled RoPE need not say.
bool IsOfExpertsOrScaling(absl::string_view name) {
  return absl::StartsWith(name, "expert_") || absl::StartsWith(name, "rope.scaling.") ||
         name == "leading_dense_block_count";
}

// The source's entries for the result. `plain`: it has neither experts nor scaled RoPE.
class Translator {
 public:
  Translator(absl::string_view from, absl::string_view to, bool plain)
      : from_(from), to_(to), plain_(plain) {}

  // The key in the result; empty if it has none.
  std::string Key(absl::string_view key) const {
    if (IsOfTheFile(key)) return "";
    absl::string_view rest = key;
    if (!absl::ConsumePrefix(&rest, from_) || !absl::ConsumePrefix(&rest, ".")) {
      return std::string(key);
    }
    if (absl::c_linear_search(kReplaced, rest)) return "";
    if (plain_ && IsOfExpertsOrScaling(rest)) return "";
    return absl::StrCat(to_, ".", rest);
  }

 private:
  const absl::string_view from_, to_;
  const bool plain_;
};

// Appends entries below the architecture's name.
class Appender {
 public:
  Appender(absl::string_view architecture, std::vector<GgufEntry>& entries)
      : architecture_(architecture), entries_(entries) {}

  void Number(absl::string_view name, int64_t value) {
    Add(name, {GgufType::kUint32, static_cast<uint64_t>(value)});
  }
  void Add(absl::string_view name, GgufValue value) {
    entries_.push_back({absl::StrCat(architecture_, ".", name), std::move(value)});
  }

 private:
  const absl::string_view architecture_;
  std::vector<GgufEntry>& entries_;
};

// As llama.cpp sees latent attention: one key and value, the latent, for all heads; how wide the
// heads are once it is expanded, under names of their own.
void AppendAttention(const MlaSpec& mla, Appender& to) {
  to.Number("attention.head_count_kv", 1);
  to.Number("attention.key_length", int64_t{mla.kv_lora_rank} + mla.qk_rope_head_dim);
  to.Number("attention.value_length", mla.kv_lora_rank);
  to.Number("attention.key_length_mla", mla.qk_nope_head_dim + mla.qk_rope_head_dim);
  to.Number("attention.value_length_mla", mla.v_head_dim);
  to.Number("attention.kv_lora_rank", mla.kv_lora_rank);
  to.Number("attention.q_lora_rank", mla.q_lora_rank);
  to.Number("rope.dimension_count", mla.qk_rope_head_dim);
}

}  // namespace

std::vector<GgufEntry> LatentGgufMetadata(const GgufReader& source, const ModelSpec& spec,
                                          const EmitOptions& options) {
  const absl::string_view architecture = Architecture(options.format);
  const bool deepseek2 = options.format == OutputFormat::kGgufDeepseek2;
  const Translator translator(source.config().architecture, architecture, deepseek2);
  std::vector<GgufEntry> entries;
  for (const absl::string_view key : source.metadata().keys()) {
    std::string result = translator.Key(key);
    if (key == "general.architecture") {
      entries.push_back({std::move(result), {GgufType::kString, architecture}});
    } else if (!result.empty()) {
      entries.push_back({std::move(result), *source.metadata().Find(key)});
    }
  }
  Appender to(architecture, entries);
  AppendAttention(options.mla, to);
  to.Number("attention.source_cache_values",
            2 * int64_t{spec.gqa.num_key_value_heads} * spec.gqa.head_dim);
  if (deepseek2) {
    // No layer has experts; llama.cpp wants to be told of those that none has.
    to.Number("leading_dense_block_count", spec.num_layers);
    to.Number("expert_shared_count", 0);
    to.Number("expert_feed_forward_length", 0);
    return entries;
  }
  to.Add("attention.scale", {GgufType::kFloat32, *options.config.attention_scale});
  if (spec.moe.num_experts > 0) {
    to.Add("expert_weights_norm", {GgufType::kBool, spec.moe.norm_topk_prob});
  }
  return entries;
}

}  // namespace transmla
