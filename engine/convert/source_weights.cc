#include "engine/convert/source_weights.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/tensor/block_formats.h"

namespace transmla {
namespace {

struct NamePair {
  absl::string_view gguf;
  absl::string_view hugging_face;
};

constexpr NamePair kModelNames[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};

constexpr NamePair kLayerNames[] = {
    {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

template <size_t kCount>
absl::string_view Translate(const NamePair (&names)[kCount], absl::string_view gguf) {
  for (const NamePair& pair : names) {
    if (pair.gguf == gguf) return pair.hugging_face;
  }
  return {};
}

// The first feature of a grouped-query model that a latent model cannot carry; empty if there is
// none.
absl::string_view FeatureLost(const ModelSpec& spec) {
  if (spec.qk_norm) return "norms of queries and keys";
  if (spec.HasWindow()) return "a sliding window";
  if (spec.attention_soft_cap != 0) return "soft caps on attention scores";
  if (spec.final_soft_cap != 0) return "soft caps on logits";
  if (spec.post_norms) return "norms behind attention and feed-forward blocks";
  if (spec.activation != Activation::kSilu) return "an activation other than silu";
  if (spec.embedding_scale != 1) return "scaled embeddings";
  return {};
}

// Frequencies are in ModelSpec; the files' own copies are not passed on.
bool HoldsFrequencies(absl::string_view name) {
  return name == "rope_freqs.weight" || absl::EndsWith(name, "rotary_emb.inv_freq");
}

// Layers that only guess further tokens in training (mimo): no part of the model that is converted.
bool IsLeftOut(absl::string_view name) {
  return HoldsFrequencies(name) || absl::StartsWith(name, "model.mtp_layers.");
}

// One matrix that holds several projections (phi3).
bool IsFused(absl::string_view name) {
  return absl::StrContains(name, ".qkv_proj.") || absl::StrContains(name, ".attn_qkv.");
}

// Whether `name` (Hugging Face) is a projection that conversion replaces.
bool IsReplaced(absl::string_view name) {
  for (const char* projection : {"q_proj", "k_proj", "v_proj"}) {
    if (absl::StrContains(name, absl::StrCat(".self_attn.", projection, "."))) return true;
  }
  return false;
}

// Whether conversion knows what a tensor of this Hugging Face name is.
bool IsKnown(absl::string_view name) {
  absl::string_view stem = name;
  if (!absl::ConsumeSuffix(&stem, ".weight") && !absl::ConsumeSuffix(&stem, ".bias")) return false;
  for (const NamePair& pair : kModelNames) {
    if (stem == pair.hugging_face) return true;
  }
  if (!absl::ConsumePrefix(&stem, "model.layers.")) return false;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(stem, absl::MaxSplits('.', 1));
  for (const NamePair& pair : kLayerNames) {
    if (parts.second == pair.hugging_face) return true;
  }
  return false;
}

}  // namespace

std::string HuggingFaceName(absl::string_view gguf_name) {
  const std::vector<absl::string_view> parts = absl::StrSplit(gguf_name, '.');
  int layer = 0;
  if (parts.size() == 2) {
    const absl::string_view stem = Translate(kModelNames, parts[0]);
    return stem.empty() ? "" : absl::StrCat(stem, ".", parts[1]);
  }
  if (parts.size() == 4 && parts[0] == "blk" && absl::SimpleAtoi(parts[1], &layer)) {
    const absl::string_view stem = Translate(kLayerNames, parts[2]);
    return stem.empty() ? "" : absl::StrCat("model.layers.", layer, ".", stem, ".", parts[3]);
  }
  return "";
}

absl::StatusOr<std::vector<float>> DecodeFinite(const TensorView& tensor, absl::string_view name) {
  if (!IsDequantizable(tensor.dtype))
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor ", name, " has type ", DTypeName(tensor.dtype), ", which weights cannot have"));
  std::vector<float> values(tensor.shape.elements());
  const int64_t cols = tensor.shape.cols();
  const int64_t row_bytes = RowBytes(tensor.dtype, cols);
  for (int64_t row = 0; row < tensor.shape.rows(); ++row) {
    DequantizeRow(tensor.dtype, tensor.as<char>() + row * row_bytes,
                  absl::MakeSpan(values).subspan(row * cols, static_cast<size_t>(cols)));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]))
      return absl::DataLossError(absl::StrCat("tensor ", name, ": element ", i, " is ", values[i],
                                              "; the file is damaged or was trained to overflow"));
  }
  return values;
}

absl::StatusOr<SourceWeights> SourceWeights::Create(
    std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec) {
  if (spec.attention != AttentionKind::kGqa)
    return absl::InvalidArgumentError(
        absl::StrCat(checkpoint->path(), ": attention of family ", spec.family,
                     " is latent already; there is nothing to convert"));
  if (const absl::string_view feature = FeatureLost(spec); !feature.empty())
    return absl::UnimplementedError(
        absl::StrCat(checkpoint->path(), ": the ", spec.family, " model has ", feature,
                     ", which latent models do not have; converting it would change the model"));
  if (spec.inv_freq.empty() || static_cast<int>(spec.inv_freq[0].size()) * 2 != spec.gqa.head_dim)
    return absl::InvalidArgumentError(absl::StrCat(
        checkpoint->path(), ": RoPE turns ",
        spec.inv_freq.empty() ? 0 : spec.inv_freq[0].size() * 2, " of ", spec.gqa.head_dim,
        " dimensions of a head; conversion needs it to turn all of them"));
  SourceWeights result(std::move(checkpoint), spec);
  const bool gguf = result.checkpoint_->format() == CheckpointFormat::kGguf;
  ASSIGN_OR_RETURN(result.kept_, KeptExperts(*result.checkpoint_, spec));
  absl::flat_hash_set<std::string> experts;
  for (const KeptTensor& kept : result.kept_) experts.insert(kept.source_name);
  for (const TensorInfo& info : result.checkpoint_->tensors()) {
    if (IsLeftOut(info.name) || experts.contains(info.name)) continue;
    if (IsFused(info.name))
      return absl::UnimplementedError(
          absl::StrCat(result.checkpoint_->path(), ": tensor ", info.name,
                       " holds q, k and v in one matrix, which conversion does not take apart"));
    const std::string name = gguf ? HuggingFaceName(info.name) : info.name;
    if (!IsKnown(name))
      return absl::UnimplementedError(absl::StrCat(result.checkpoint_->path(),
                                                   ": conversion does not know tensor ", info.name,
                                                   ", and leaving it out would change the model"));
    if (name == "lm_head.weight" && spec.tie_word_embeddings && !gguf) continue;
    if (!IsReplaced(name)) result.kept_.push_back({name, info.name});
  }
  return result;
}

std::string SourceWeights::ProjectionName(int layer, char which, absl::string_view part) const {
  return checkpoint_->format() == CheckpointFormat::kGguf
             ? absl::StrCat("blk.", layer, ".attn_", std::string(1, which), ".", part)
             : absl::StrCat("model.layers.", layer, ".self_attn.", std::string(1, which), "_proj.",
                            part);
}

// llama.cpp's converter reorders q and k of llama (not of qwen2) so that rotary pairs are
// neighbours.
bool SourceWeights::HasInterleavedRows(char which) const {
  return which != 'v' && checkpoint_->format() == CheckpointFormat::kGguf &&
         checkpoint_->config().architecture == "llama";
}

namespace {

// Row in the file of row `row` in half-split layout.
int64_t FileRow(int64_t row, int64_t head_dim, bool interleaved) {
  if (!interleaved) return row;
  const int64_t dim = row % head_dim, pairs = head_dim / 2;
  return row - dim + 2 * (dim % pairs) + dim / pairs;
}

}  // namespace

int64_t SourceWeights::Rows(char which) const {
  const int heads = which == 'q' ? spec_.gqa.num_attention_heads : spec_.gqa.num_key_value_heads;
  return int64_t{heads} * spec_.gqa.head_dim;
}

absl::Status SourceWeights::CheckShape(absl::string_view name, const Shape& shape,
                                       const Shape& wanted) const {
  if (shape == wanted) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(checkpoint_->path(), ": tensor ", name, " is ",
                                                 shape.ToString(), " but must be ",
                                                 wanted.ToString()));
}

absl::StatusOr<Matrix> SourceWeights::Projection(int layer, char which) const {
  const std::string name = ProjectionName(layer, which, "weight");
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_->Tensor(name));
  const Shape wanted({Rows(which), spec_.hidden_size});
  RETURN_IF_ERROR(CheckShape(name, tensor.shape, wanted));
  ASSIGN_OR_RETURN(const std::vector<float> values,
                   DecodeFinite(tensor, absl::StrCat(checkpoint_->path(), ": ", name)));
  Matrix matrix(wanted[0], wanted[1]);
  for (int64_t row = 0; row < matrix.rows(); ++row) {
    const int64_t from = FileRow(row, spec_.gqa.head_dim, HasInterleavedRows(which));
    std::copy_n(values.begin() + from * matrix.cols(), matrix.cols(), matrix.row(row).begin());
  }
  return matrix;
}

absl::StatusOr<std::vector<double>> SourceWeights::Bias(int layer, char which) const {
  if (!spec_.qkv_bias) return std::vector<double>();
  const std::string name = ProjectionName(layer, which, "bias");
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_->Tensor(name));
  RETURN_IF_ERROR(CheckShape(name, tensor.shape, Shape({Rows(which)})));
  ASSIGN_OR_RETURN(const std::vector<float> values,
                   DecodeFinite(tensor, absl::StrCat(checkpoint_->path(), ": ", name)));
  std::vector<double> bias(values.size());
  for (size_t row = 0; row < bias.size(); ++row)
    bias[row] =
        values[FileRow(static_cast<int64_t>(row), spec_.gqa.head_dim, HasInterleavedRows(which))];
  return bias;
}

absl::StatusOr<Matrix> SourceWeights::Output(int layer) const {
  const std::string name = checkpoint_->format() == CheckpointFormat::kGguf
                               ? absl::StrCat("blk.", layer, ".attn_output.weight")
                               : absl::StrCat("model.layers.", layer, ".self_attn.o_proj.weight");
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_->Tensor(name));
  RETURN_IF_ERROR(CheckShape(name, tensor.shape, Shape({spec_.hidden_size, Rows('q')})));
  ASSIGN_OR_RETURN(const std::vector<float> values,
                   DecodeFinite(tensor, absl::StrCat(checkpoint_->path(), ": ", name)));
  Matrix matrix(spec_.hidden_size, Rows('q'));
  std::copy(values.begin(), values.end(), matrix.values().begin());
  return matrix;
}

absl::StatusOr<double> SourceWeights::HiddenNormBound(int layer) const {
  const std::string name = checkpoint_->format() == CheckpointFormat::kGguf
                               ? absl::StrCat("blk.", layer, ".attn_norm.weight")
                               : absl::StrCat("model.layers.", layer, ".input_layernorm.weight");
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_->Tensor(name));
  ASSIGN_OR_RETURN(const std::vector<float> weights,
                   DecodeFinite(tensor, absl::StrCat(checkpoint_->path(), ": ", name)));
  double largest = 0;
  for (const float weight : weights) largest = std::max(largest, std::abs(double{weight}));
  return std::sqrt(static_cast<double>(spec_.hidden_size)) * largest;
}

absl::StatusOr<GqaWeights> SourceWeights::Attention(int layer) const {
  GqaWeights weights;
  ASSIGN_OR_RETURN(weights.q, Projection(layer, 'q'));
  ASSIGN_OR_RETURN(weights.k, Projection(layer, 'k'));
  ASSIGN_OR_RETURN(weights.v, Projection(layer, 'v'));
  ASSIGN_OR_RETURN(weights.q_bias, Bias(layer, 'q'));
  ASSIGN_OR_RETURN(weights.k_bias, Bias(layer, 'k'));
  ASSIGN_OR_RETURN(weights.v_bias, Bias(layer, 'v'));
  return weights;
}

}  // namespace transmla
