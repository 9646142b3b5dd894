// transmla inspect: what a model on disk is, what its cache costs, and what conversions would make
// of that.
#include "engine/inspect.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "client/cli/command.h"
#include "client/cli/output.h"
#include "client/cli/terminal.h"
#include "engine/base/status.h"
#include "engine/convert/pipeline.h"

namespace transmla {
namespace {

int64_t CacheBytes(const ModelSpec& spec) { return spec.CacheLayout(DType::kBF16).BytesPerToken(); }

int64_t SourceCacheBytes(const ModelSpec& spec) {
  return spec.SourceCacheBytesPerToken(DType::kBF16);
}

// What `transmla convert --recipe best` would make of the model at some ratios of its cache.
absl::StatusOr<std::vector<ConversionReport>> PlanConversions(const std::string& model) {
  std::vector<ConversionReport> plans;
  for (const double ratio : {0.5, 1.0 / 3, 0.25, 0.125}) {
    ASSIGN_OR_RETURN(
        plans.emplace_back(),
        PlanConversion({.source = model, .recipe = Recipe::kBest, .cache_ratio = ratio}));
  }
  return plans;
}

// How many experts all tokens go to; side by side they are one feed-forward.
int SharedExperts(const MoeSpec& moe) {
  return moe.intermediate_size > 0 ? moe.shared_intermediate_size / moe.intermediate_size : 0;
}

void AddExperts(const MoeSpec& moe, nlohmann::json* object) {
  if (moe.num_experts == 0) return;
  (*object)["n_routed_experts"] = moe.num_experts;
  (*object)["num_experts_per_tok"] = moe.num_experts_per_tok;
  (*object)["n_shared_experts"] = SharedExperts(moe);
  (*object)["moe_intermediate_size"] = moe.intermediate_size;
  (*object)["layers_with_experts"] = std::count(moe.layers.begin(), moe.layers.end(), true);
}

void PrintExperts(const MoeSpec& moe) {
  if (moe.num_experts == 0) return;
  PrintNow(absl::StrFormat(
      "  experts: %d of width %d in %d of the layers, %d a token and %d shared by all\n",
      moe.num_experts, moe.intermediate_size,
      std::count(moe.layers.begin(), moe.layers.end(), true), moe.num_experts_per_tok,
      SharedExperts(moe)));
}

void AddConversions(const absl::StatusOr<std::vector<ConversionReport>>& plans,
                    nlohmann::json* object) {
  if (!plans.ok()) {
    (*object)["conversion_error"] = std::string(plans.status().message());
    return;
  }
  for (const ConversionReport& plan : *plans)
    (*object)["conversions"].push_back(
        {{"qk_rope_head_dim", plan.qk_rope_head_dim},
         {"kv_lora_rank", plan.kv_lora_rank},
         {"cache_bytes_per_token", plan.cache_bytes_per_token_after}});
}

void PrintConversions(const absl::StatusOr<std::vector<ConversionReport>>& plans) {
  if (!plans.ok()) {
    PrintNow(absl::StrFormat("  no conversion: %s\n", plans.status().message()));
    return;
  }
  PrintNow("  conversions (transmla convert --cache-ratio X):\n");
  for (const ConversionReport& plan : *plans)
    PrintNow(absl::StrFormat(
        "    %5.1f %% of the cache, %d bytes a token: rope key %d + latent %d\n",
        100.0 * plan.cache_bytes_per_token_after / plan.cache_bytes_per_token_before,
        plan.cache_bytes_per_token_after, plan.qk_rope_head_dim, plan.kv_lora_rank));
}

nlohmann::json ToJson(const ModelInspection& inspection) {
  const ModelSpec& spec = inspection.spec;
  nlohmann::json object = {{"path", inspection.path},
                           {"name", spec.name},
                           {"family", spec.family},
                           {"attention", spec.attention == AttentionKind::kMla ? "mla" : "gqa"},
                           {"num_layers", spec.num_layers},
                           {"hidden_size", spec.hidden_size},
                           {"intermediate_size", spec.intermediate_size},
                           {"vocab_size", spec.vocab_size},
                           {"num_attention_heads", spec.NumAttentionHeads()},
                           {"max_context_tokens", spec.max_context_tokens},
                           {"tensors", inspection.tensors},
                           {"weight_bytes", inspection.weight_bytes},
                           {"weight_bytes_by_dtype", inspection.bytes_by_dtype},
                           {"cache_bytes_per_token", CacheBytes(spec)},
                           {"source_cache_bytes_per_token", SourceCacheBytes(spec)}};
  if (spec.attention == AttentionKind::kMla) {
    object["kv_lora_rank"] = spec.mla.kv_lora_rank;
    object["q_lora_rank"] = spec.mla.q_lora_rank;
    object["qk_nope_head_dim"] = spec.mla.qk_nope_head_dim;
    object["qk_rope_head_dim"] = spec.mla.qk_rope_head_dim;
    object["v_head_dim"] = spec.mla.v_head_dim;
  } else {
    object["num_key_value_heads"] = spec.gqa.num_key_value_heads;
    object["head_dim"] = spec.gqa.head_dim;
  }
  AddExperts(spec.moe, &object);
  return object;
}

std::string Attention(const ModelSpec& spec) {
  if (spec.attention == AttentionKind::kMla) {
    return absl::StrFormat("multi-head latent, %d heads, latent %d + rope key %d a token and layer",
                           spec.mla.num_attention_heads, spec.mla.kv_lora_rank,
                           spec.mla.qk_rope_head_dim);
  }
  return absl::StrFormat("grouped-query, %d heads over %d key/value heads of %d",
                         spec.gqa.num_attention_heads, spec.gqa.num_key_value_heads,
                         spec.gqa.head_dim);
}

absl::Status Run(absl::Span<const std::string> arguments) {
  RETURN_IF_ERROR(ExpectArguments(arguments, 1, "transmla inspect MODEL [--json]"));
  ASSIGN_OR_RETURN(const ModelInspection inspection, InspectModel(arguments[0]));
  const ModelSpec& spec = inspection.spec;
  const bool converts = spec.attention == AttentionKind::kGqa;
  if (JsonWanted()) {
    nlohmann::json object = ToJson(inspection);
    if (converts) AddConversions(PlanConversions(arguments[0]), &object);
    PrintJson(object);
    return absl::OkStatus();
  }
  PrintNow(absl::StrFormat(
      "%s  (family %s)\n  %d layers, hidden %d, feed-forward %d, vocabulary "
      "%d, context %d tokens\n  attention: %s\n",
      spec.name, spec.family, spec.num_layers, spec.hidden_size, spec.intermediate_size,
      spec.vocab_size, spec.max_context_tokens, Attention(spec)));
  PrintExperts(spec.moe);
  PrintNow(absl::StrFormat("  weights: %d tensors, %s:", inspection.tensors,
                           HumanBytes(inspection.weight_bytes)));
  for (const auto& [dtype, bytes] : inspection.bytes_by_dtype) {
    PrintNow(absl::StrFormat(" %s %s", dtype, HumanBytes(bytes)));
  }
  PrintNow(absl::StrFormat("\n  cache (bf16): %d bytes a token", CacheBytes(spec)));
  if (spec.attention == AttentionKind::kMla && spec.source_cache_values > 0) {
    PrintNow(absl::StrFormat(", %.1f %% of the %d before the conversion",
                             100.0 * CacheBytes(spec) / SourceCacheBytes(spec),
                             SourceCacheBytes(spec)));
  }
  PrintNow(absl::StrFormat("; %s at full context\n",
                           HumanBytes(CacheBytes(spec) * spec.max_context_tokens)));
  if (converts) PrintConversions(PlanConversions(arguments[0]));
  return absl::OkStatus();
}

}  // namespace

const Command kInspectCommand = {
    .name = "inspect",
    .summary = "show what a model file is, what its cache costs, and what conversions would save",
    .help =
        "Usage: transmla inspect MODEL [--json]\n\n"
        "MODEL is a GGUF file or a folder with config.json and safetensors. Weights are not "
        "loaded.\n"
        "What the ratios of the cache would be like is for convert's recipe best.\n\n"
        "Example: transmla inspect SmolLM2-135M-Instruct.Q4_1.gguf\n",
    .run = Run,
};

}  // namespace transmla
