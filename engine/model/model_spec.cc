#include "engine/model/model_spec.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "engine/base/check_range.h"
#include "engine/base/status.h"

namespace transmla {
namespace {

// Far beyond every published decoder, small enough that products of two stay in 64 bits.
constexpr int kMaxVocabulary = 1 << 22;
constexpr int kMaxWidth = 1 << 20;
constexpr int kMaxLayers = 1 << 10;
constexpr int kMaxHeads = 1 << 12;
constexpr int kMaxExperts = 1 << 12;
// Of all layers: published are up to some 25,000.
constexpr int kMaxExpertsInAll = 1 << 17;
// Published are 30 and 50. Below the least, quotients overflow; above the greatest, the cap would
// change nothing.
constexpr float kLeastSoftCap = 1e-3f;
constexpr float kGreatestSoftCap = 1e6f;

absl::Status ValidateGqa(const GqaSpec& gqa) {
  RETURN_IF_ERROR(CheckRange("num_attention_heads", gqa.num_attention_heads, 1, kMaxHeads));
  RETURN_IF_ERROR(CheckRange("num_key_value_heads", gqa.num_key_value_heads, 1, kMaxHeads));
  RETURN_IF_ERROR(CheckRange("head_dim", gqa.head_dim, 1, kMaxWidth));
  if (gqa.num_attention_heads % gqa.num_key_value_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat("num_attention_heads (", gqa.num_attention_heads,
                                                   ") must be a multiple of num_key_value_heads (",
                                                   gqa.num_key_value_heads, ")"));
  }
  return absl::OkStatus();
}

absl::Status ValidateMla(const MlaSpec& mla) {
  RETURN_IF_ERROR(CheckRange("num_attention_heads", mla.num_attention_heads, 1, kMaxHeads));
  RETURN_IF_ERROR(CheckRange("q_lora_rank", mla.q_lora_rank, 0, kMaxWidth));
  RETURN_IF_ERROR(CheckRange("kv_lora_rank", mla.kv_lora_rank, 1, kMaxWidth));
  RETURN_IF_ERROR(CheckRange("qk_nope_head_dim", mla.qk_nope_head_dim, 0, kMaxWidth));
  RETURN_IF_ERROR(CheckRange("qk_rope_head_dim", mla.qk_rope_head_dim, 2, kMaxWidth));
  RETURN_IF_ERROR(CheckRange("v_head_dim", mla.v_head_dim, 1, kMaxWidth));
  if (mla.qk_rope_head_dim % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("qk_rope_head_dim is ", mla.qk_rope_head_dim,
                                                   "; rotary pairs need an even number"));
  }
  return absl::OkStatus();
}

// Values of a head that share a scale: all of them, or as many as divide a wide head evenly.
int HeadGroup(int head_dim) {
  int group = std::min(head_dim, kMaxKvGroup);
  while (head_dim % group != 0) --group;
  return group;
}

// Rotary pairs that a head may have at most.
int RotaryPairs(const ModelSpec& spec) {
  return (spec.attention == AttentionKind::kMla ? spec.mla.qk_rope_head_dim : spec.gqa.head_dim) /
         2;
}

absl::Status ValidateRope(const ModelSpec& spec) {
  if (static_cast<int>(spec.inv_freq.size()) != spec.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("inverse frequencies are given for ",
                                                   spec.inv_freq.size(), " of ", spec.num_layers,
                                                   " layers"));
  }
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    const std::vector<float>& inv_freq = spec.inv_freq[layer];
    if (inv_freq.empty() || static_cast<int>(inv_freq.size()) > RotaryPairs(spec)) {
      return absl::InvalidArgumentError(absl::StrCat("layer ", layer, " has ", inv_freq.size(),
                                                     " inverse frequencies; heads have up to ",
                                                     RotaryPairs(spec), " rotary pairs"));
    }
    for (const float value : inv_freq) {
      if (!std::isfinite(value)) {
        return absl::InvalidArgumentError(
            absl::StrCat("layer ", layer, " has an inverse frequency that is not finite"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateSoftCap(absl::string_view name, float cap) {
  if (cap == 0 || (cap >= kLeastSoftCap && cap <= kGreatestSoftCap)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is ", cap, "; it must be from ",
                                                 kLeastSoftCap, " to ", kGreatestSoftCap,
                                                 ", or 0 for none"));
}

absl::Status ValidateWindows(const ModelSpec& spec) {
  if (spec.sliding_window.empty()) return absl::OkStatus();
  if (static_cast<int>(spec.sliding_window.size()) != spec.num_layers) {
    return absl::InvalidArgumentError(absl::StrCat(
        "windows are given for ", spec.sliding_window.size(), " of ", spec.num_layers, " layers"));
  }
  for (const int window : spec.sliding_window) {
    RETURN_IF_ERROR(CheckRange("sliding_window", window, 0, spec.max_context_tokens));
  }
  return absl::OkStatus();
}

// Of latent attention that is made from normed heads of queries and keys.
absl::Status ValidateNormedHeads(const ModelSpec& spec) {
  if (spec.attention != AttentionKind::kMla || !spec.qk_norm) return absl::OkStatus();
  RETURN_IF_ERROR(ValidateGqa(spec.gqa));
  if (spec.mla.q_lora_rank == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("q_lora_rank is ", spec.mla.q_lora_rank,
                   ", but heads of queries are normed, which needs their whole projection"));
}

absl::Status ValidateGroups(const MoeSpec& moe) {
  const auto [count, top, num_terms] = moe.groups;
  RETURN_IF_ERROR(CheckRange("n_group", count, 1, moe.num_experts));
  RETURN_IF_ERROR(CheckRange("topk_group", top, 1, count));
  if (moe.num_experts % count != 0 || num_terms > moe.num_experts / count) {
    return absl::InvalidArgumentError(absl::StrCat("n_group is ", count, "; ", moe.num_experts,
                                                   " experts make no such groups of ", num_terms,
                                                   " or more"));
  }
  if (moe.num_experts_per_tok > top * (moe.num_experts / count)) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_experts_per_tok is ", moe.num_experts_per_tok, ", but topk_group ", top,
                     " of ", count, " groups have ", top * (moe.num_experts / count), " experts"));
  }
  return absl::OkStatus();
}

absl::Status ValidateMoe(const MoeSpec& moe, int num_layers) {
  if (moe.num_experts == 0 && moe.layers.empty()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckRange("num_experts", moe.num_experts, 1, kMaxExperts));
  RETURN_IF_ERROR(
      CheckRange("num_experts_per_tok", moe.num_experts_per_tok, 1, kMaxExpertsPerToken));
  RETURN_IF_ERROR(CheckRange("moe_intermediate_size", moe.intermediate_size, 1, kMaxWidth));
  if (moe.num_experts_per_tok > moe.num_experts) {
    return absl::InvalidArgumentError(absl::StrCat("num_experts_per_tok is ",
                                                   moe.num_experts_per_tok, ", but there are ",
                                                   moe.num_experts, " experts"));
  }
  RETURN_IF_ERROR(ValidateGroups(moe));
  RETURN_IF_ERROR(
      CheckRange("shared intermediate_size", moe.shared_intermediate_size, 0, kMaxWidth));
  if (!(moe.scaling > 0) || !std::isfinite(moe.scaling)) {
    return absl::InvalidArgumentError(
        absl::StrCat("routed_scaling_factor is ", moe.scaling, "; it must be positive and finite"));
  }
  if (static_cast<int>(moe.layers.size()) != num_layers) {
    return absl::InvalidArgumentError(absl::StrCat("experts are described for ", moe.layers.size(),
                                                   " of ", num_layers, " layers"));
  }
  if (moe.num_experts * num_layers > kMaxExpertsInAll) {
    return absl::InvalidArgumentError(absl::StrCat("num_experts is ", moe.num_experts, " in ",
                                                   num_layers, " layers, more than ",
                                                   kMaxExpertsInAll, " in all"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view ActivationName(Activation activation) {
  return activation == Activation::kGeluTanh ? "gelu_pytorch_tanh" : "silu";
}

bool ModelSpec::HasWindow() const {
  return std::any_of(sliding_window.begin(), sliding_window.end(), [](int w) { return w > 0; });
}

int ModelSpec::NumAttentionHeads() const {
  return attention == AttentionKind::kMla ? mla.num_attention_heads : gqa.num_attention_heads;
}

KvLayout ModelSpec::CacheLayout(DType dtype) const {
  if (attention == AttentionKind::kMla) {
    const int group = dtype == DType::kI8 ? std::min(mla.kv_lora_rank, kMaxKvGroup) : 0;
    return {attention, num_layers, mla.kv_lora_rank, mla.qk_rope_head_dim, dtype, group};
  }
  const int group = dtype == DType::kI8 ? HeadGroup(gqa.head_dim) : 0;
  const int width = gqa.num_key_value_heads * gqa.head_dim;
  return {attention, num_layers, width, width, dtype, group};
}

int64_t ModelSpec::SourceCacheBytesPerToken(DType dtype) const {
  const int group = attention == AttentionKind::kMla ? kMaxKvGroup : HeadGroup(gqa.head_dim);
  return CacheRowBytes(dtype, source_cache_values, group) * num_layers;
}

absl::Status ModelSpec::Validate() const {
  RETURN_IF_ERROR(CheckRange("vocab_size", vocab_size, 1, kMaxVocabulary));
  RETURN_IF_ERROR(CheckRange("hidden_size", hidden_size, 1, kMaxWidth));
  RETURN_IF_ERROR(CheckRange("intermediate_size", intermediate_size, 1, kMaxWidth));
  RETURN_IF_ERROR(CheckRange("num_hidden_layers", num_layers, 1, kMaxLayers));
  RETURN_IF_ERROR(CheckRange("max_position_embeddings", max_context_tokens, 1, 1 << 30));
  RETURN_IF_ERROR(attention == AttentionKind::kMla ? ValidateMla(mla) : ValidateGqa(gqa));
  RETURN_IF_ERROR(ValidateNormedHeads(*this));
  RETURN_IF_ERROR(ValidateRope(*this));
  RETURN_IF_ERROR(ValidateWindows(*this));
  RETURN_IF_ERROR(ValidateMoe(moe, num_layers));
  RETURN_IF_ERROR(ValidateSoftCap("attn_logit_softcapping", attention_soft_cap));
  RETURN_IF_ERROR(ValidateSoftCap("final_logit_softcapping", final_soft_cap));
  if (!(embedding_scale > 0) || !std::isfinite(embedding_scale)) {
    return absl::InvalidArgumentError(
        absl::StrCat("embedding_scale is ", embedding_scale, "; it must be positive and finite"));
  }
  if (!std::isfinite(attention_scale) || attention_scale <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention_scale is ", attention_scale, "; it must be positive and finite"));
  }
  if (!(norm_eps > 0) || !std::isfinite(norm_eps)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rms_norm_eps is ", norm_eps, "; it must be positive and finite"));
  }
  return absl::OkStatus();
}

}  // namespace transmla
