// Family: what distinguishes a model family, as data: its names on disk and how its config becomes
// features.
//
// A new family is one file in families/ and one line in families.cc.
#ifndef TRANSMLA_ENGINE_MODEL_FAMILY_H_
#define TRANSMLA_ENGINE_MODEL_FAMILY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// Names of tensors in one file format; "$" stands for the layer's number. Empty: the format has
// none.
struct TensorNames {
  absl::string_view embedding, final_norm, output;
  absl::string_view attention_norm, feed_forward_norm;  // before each block
  absl::string_view q, k, v, attention_output;          // stems: ".weight" and ".bias" follow
  absl::string_view gate, up, down;
  // Of some families only.
  absl::string_view post_attention_norm, post_feed_forward_norm;  // behind each block
  absl::string_view q_norm, k_norm;
  absl::string_view qkv;      // stem: q, k and v in one matrix, in this order
  absl::string_view gate_up;  // gate and up in one matrix, in this order
  // Experts, "@" stands for the expert's number: the router, then either a matrix an expert, or
  // those of all experts in one tensor [num_experts, rows, cols].
  absl::string_view router;
  absl::string_view expert_gate, expert_up, expert_down;
  absl::string_view stacked_gate, stacked_up, stacked_down;
  absl::string_view router_bias;                          // added to scores for the choice
  absl::string_view shared_gate, shared_up, shared_down;  // of the feed-forward beside experts
  // MLA
  absl::string_view q_a, q_a_norm, q_b, kv_a, kv_a_norm, kv_b, inv_freq;
  // Instead of kv_b: W_UK and W_UV a head, [H, R, Dn] and [H, Dv, R].
  absl::string_view k_b, v_b;
  // Present in some files and not needed, by whole name and by beginning; there "$" is the number
  // of the layer behind the last.
  std::vector<absl::string_view> ignored;
  std::vector<absl::string_view> ignored_prefixes;
};

// Hugging Face's names of the llama line, with DeepSeek's for latent attention.
const TensorNames& HuggingFaceNames();
// llama.cpp's names (ggml-org/llama.cpp, gguf-py tensor mapping).
const TensorNames& GgufNames();
// The same with latent attention, as in its architecture deepseek2, norms behind blocks, as in
// gemma2, and inverse frequencies of each layer, which are ours.
const TensorNames& LatentGgufNames();

// `pattern` with `layer` in place of "$".
std::string LayerName(absl::string_view pattern, int layer);
// As LayerName, with `expert` in place of "@".
std::string ExpertName(absl::string_view pattern, int layer, int expert);

struct Family {
  absl::string_view name;
  std::vector<absl::string_view> architectures;  // Hugging Face class names and GGUF architectures
  // llama.cpp's converter reorders the rows of q and k of this family so that rotary pairs are
  // neighbours.
  bool gguf_interleaves_rope = false;
  // Hugging Face's class multiplies by 1 + weight in its norms: what to add to such files' weights.
  // llama.cpp's converter has added it already.
  float hugging_face_norm_offset = 0;
  const TensorNames& (*hugging_face_names)() = HuggingFaceNames;
  const TensorNames& (*gguf_names)() = GgufNames;
  // Fills everything of ModelSpec but its names.
  absl::StatusOr<ModelSpec> (*features)(const CheckpointReader& checkpoint);

  const TensorNames& Names(CheckpointFormat format) const {
    return format == CheckpointFormat::kGguf ? gguf_names() : hugging_face_names();
  }
  float NormOffset(CheckpointFormat format) const {
    return format == CheckpointFormat::kGguf ? 0 : hugging_face_norm_offset;
  }
};

extern const Family kLlama;
extern const Family kMistral;
extern const Family kMixtral;
extern const Family kQwen2;
extern const Family kQwen3;
extern const Family kQwen3Moe;
extern const Family kMimo;
extern const Family kPhi3;
extern const Family kGemma2;
extern const Family kGemma3;
extern const Family kTransMla;

// All of them, in the order of docs/conversion.md.
absl::Span<const Family* const> Families();
// Unimplemented names the architecture and those that are supported.
absl::StatusOr<const Family*> FindFamily(const CheckpointReader& checkpoint);

// Sizes, norms, vocabulary, context: everything but attention and RoPE.
ModelSpec CommonFeatures(const CheckpointReader& checkpoint);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_FAMILY_H_
