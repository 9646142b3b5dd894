#include "engine/convert/gguf_metadata.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace transmla {
namespace {

constexpr absl::string_view kArchitecture = "transmla";

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

// The key in the result; empty if it has none.
std::string ResultKey(absl::string_view key, absl::string_view source_architecture) {
  if (IsOfTheFile(key)) return "";
  absl::string_view rest = key;
  if (!absl::ConsumePrefix(&rest, source_architecture) || !absl::ConsumePrefix(&rest, ".")) {
    return std::string(key);
  }
  if (std::find(std::begin(kReplaced), std::end(kReplaced), rest) != std::end(kReplaced)) return "";
  return absl::StrCat(kArchitecture, ".", rest);
}

GgufEntry Entry(absl::string_view name, GgufType type, decltype(GgufValue::value) value) {
  return {absl::StrCat(kArchitecture, ".", name), {type, std::move(value)}};
}

GgufEntry Number(absl::string_view name, int64_t value) {
  return Entry(name, GgufType::kUint32, static_cast<uint64_t>(value));
}

}  // namespace

std::vector<GgufEntry> LatentGgufMetadata(const GgufReader& source, const ModelSpec& spec,
                                          const MlaSpec& mla, double scale) {
  std::vector<GgufEntry> entries;
  for (const absl::string_view key : source.metadata().keys()) {
    std::string result = ResultKey(key, source.config().architecture);
    if (key == "general.architecture") {
      entries.push_back({std::move(result), {GgufType::kString, kArchitecture}});
    } else if (!result.empty()) {
      entries.push_back({std::move(result), *source.metadata().Find(key)});
    }
  }
  const int64_t row = int64_t{mla.kv_lora_rank} + mla.qk_rope_head_dim;
  // As llama.cpp sees latent attention: one key and value, the latent, for all heads; how wide the
  // heads are once it is expanded, under names of their own.
  entries.push_back(Number("attention.head_count_kv", 1));
  entries.push_back(Number("attention.key_length", row));
  entries.push_back(Number("attention.value_length", mla.kv_lora_rank));
  entries.push_back(
      Number("attention.key_length_mla", mla.qk_nope_head_dim + mla.qk_rope_head_dim));
  entries.push_back(Number("attention.value_length_mla", mla.v_head_dim));
  entries.push_back(Number("attention.kv_lora_rank", mla.kv_lora_rank));
  entries.push_back(Number("attention.q_lora_rank", mla.q_lora_rank));
  entries.push_back(Number("rope.dimension_count", mla.qk_rope_head_dim));
  entries.push_back(Entry("attention.scale", GgufType::kFloat32, scale));
  entries.push_back(Number("attention.source_cache_values",
                           2 * int64_t{spec.gqa.num_key_value_heads} * spec.gqa.head_dim));
  if (spec.moe.num_experts > 0) {
    entries.push_back(Entry("expert_weights_norm", GgufType::kBool, spec.moe.norm_topk_prob));
  }
  return entries;
}

}  // namespace transmla
