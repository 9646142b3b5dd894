#include "engine/convert/source_weights.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/model/family.h"
#include "engine/tensor/block_formats.h"

namespace transmla {

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
  ASSIGN_OR_RETURN(const Family* family, FindFamily(*checkpoint));
  SourceWeights result(std::move(checkpoint), *family, spec);
  RETURN_IF_ERROR(result.SetHeadOrder());
  ASSIGN_OR_RETURN(result.kept_, KeptTensors(*result.checkpoint_, spec));
  RETURN_IF_ERROR(result.CheckAllKnown());
  return result;
}

SourceWeights::SourceWeights(std::shared_ptr<const CheckpointReader> checkpoint,
                             const Family& family, const ModelSpec& spec)
    : checkpoint_(std::move(checkpoint)),
      names_(&family.Names(checkpoint_->format())),
      interleaved_(checkpoint_->format() == CheckpointFormat::kGguf &&
                   family.gguf_interleaves_rope),
      spec_(spec) {}

absl::Status SourceWeights::SetHeadOrder() {
  const int head_dim = spec_.gqa.head_dim;
  const size_t pairs = spec_.inv_freq.empty() ? 0 : spec_.inv_freq[0].size();
  const auto invalid = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(checkpoint_->path(), ": RoPE turns ", 2 * pairs,
                                                   " of ", head_dim, " dimensions of a head; ",
                                                   why));
  };
  if (pairs == 0) return invalid("conversion needs it to turn some");
  if (head_dim % 2 != 0) return invalid("conversion needs them to be an even number");
  head_order_ = MakeHeadOrder(head_dim, static_cast<int>(pairs), spec_.rope_magnitude);
  for (std::vector<float>& inv_freq : spec_.inv_freq) {
    if (inv_freq.size() != pairs) return invalid("conversion needs that to be so in every layer");
    inv_freq.resize(head_dim / 2, 0.0f);
  }
  return absl::OkStatus();
}

absl::Status SourceWeights::CheckAllKnown() const {
  absl::flat_hash_set<std::string> known;
  for (const KeptTensor& kept : kept_) known.insert(kept.source_name);
  // Some tied checkpoints store the shared matrix twice.
  if (spec_.tie_word_embeddings) known.insert(std::string(names_->output));
  for (int layer = 0; layer < spec_.num_layers; ++layer) {
    for (const Which which : {Which::kQuery, Which::kKey, Which::kValue}) {
      known.insert(ProjectionName(layer, which, "weight"));
      if (spec_.qkv_bias) known.insert(ProjectionName(layer, which, "bias"));
    }
    for (const absl::string_view ignored : names_->ignored) known.insert(LayerName(ignored, layer));
  }
  for (const TensorInfo& info : checkpoint_->tensors()) {
    const bool left_out =
        std::any_of(names_->ignored_prefixes.begin(), names_->ignored_prefixes.end(),
                    [&](absl::string_view prefix) {
                      return absl::StartsWith(info.name, LayerName(prefix, spec_.num_layers));
                    });
    if (left_out || known.contains(info.name)) continue;
    return absl::UnimplementedError(absl::StrCat(checkpoint_->path(),
                                                 ": conversion does not know tensor ", info.name,
                                                 ", and leaving it out would change the model"));
  }
  return absl::OkStatus();
}

std::string SourceWeights::ProjectionName(int layer, Which which, absl::string_view part) const {
  absl::string_view stem = names_->qkv;
  if (stem.empty()) {
    stem = which == Which::kQuery ? names_->q : which == Which::kKey ? names_->k : names_->v;
  }
  return absl::StrCat(LayerName(stem, layer), ".", part);
}

int64_t SourceWeights::Rows(Which which) const {
  const int heads =
      which == Which::kQuery ? spec_.gqa.num_attention_heads : spec_.gqa.num_key_value_heads;
  return int64_t{heads} * spec_.gqa.head_dim;
}

int64_t SourceWeights::FileRow(Which which, int64_t row) const {
  const int64_t head_dim = spec_.gqa.head_dim, pairs = head_dim / 2;
  if (which != Which::kValue) {
    int64_t dim = row % head_dim;
    row -= dim;
    if (!head_order_.from.empty()) dim = head_order_.from[dim];
    // llama.cpp's converter reorders q and k of some families so that rotary pairs are neighbours.
    row += interleaved_ ? 2 * (dim % pairs) + dim / pairs : dim;
  }
  if (names_->qkv.empty() || which == Which::kQuery) return row;
  row += Rows(Which::kQuery);
  return which == Which::kKey ? row : row + Rows(Which::kKey);
}

double SourceWeights::RowScale(Which which, int64_t row) const {
  if (which == Which::kValue || head_order_.from.empty()) return 1;
  return double{head_order_.scale[row % spec_.gqa.head_dim]};
}

absl::StatusOr<std::vector<float>> SourceWeights::Read(const std::string& name,
                                                       const Shape& wanted) const {
  ASSIGN_OR_RETURN(const TensorView tensor, checkpoint_->Tensor(name));
  if (tensor.shape != wanted)
    return absl::InvalidArgumentError(absl::StrCat(checkpoint_->path(), ": tensor ", name, " is ",
                                                   tensor.shape.ToString(), " but must be ",
                                                   wanted.ToString()));
  return DecodeFinite(tensor, absl::StrCat(checkpoint_->path(), ": ", name));
}

absl::StatusOr<Matrix> SourceWeights::Projection(int layer, Which which) const {
  const int64_t rows = Rows(which), cols = spec_.hidden_size;
  const int64_t stored = names_->qkv.empty() ? rows : Rows(Which::kQuery) + 2 * Rows(Which::kKey);
  ASSIGN_OR_RETURN(const std::vector<float> values,
                   Read(ProjectionName(layer, which, "weight"), Shape({stored, cols})));
  Matrix matrix(rows, cols);
  for (int64_t row = 0; row < rows; ++row) {
    const auto from = values.begin() + FileRow(which, row) * cols;
    const double scale = RowScale(which, row);
    std::transform(from, from + cols, matrix.row(row).begin(),
                   [scale](float value) { return scale * double{value}; });
  }
  return matrix;
}

absl::StatusOr<std::vector<double>> SourceWeights::Bias(int layer, Which which) const {
  if (!spec_.qkv_bias) return std::vector<double>();
  ASSIGN_OR_RETURN(const std::vector<float> values,
                   Read(ProjectionName(layer, which, "bias"), Shape({Rows(which)})));
  std::vector<double> bias(values.size());
  for (int64_t row = 0; row < Rows(which); ++row)
    bias[row] = RowScale(which, row) * double{values[FileRow(which, row)]};
  return bias;
}

absl::StatusOr<Matrix> SourceWeights::Output(int layer) const {
  ASSIGN_OR_RETURN(const std::vector<float> values,
                   Read(LayerName(names_->attention_output, layer) + ".weight",
                        Shape({spec_.hidden_size, Rows(Which::kQuery)})));
  Matrix matrix(spec_.hidden_size, Rows(Which::kQuery));
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

GqaWeights SourceWeights::BehindNorms() const {
  const int64_t width = Rows(Which::kKey), head_dim = spec_.gqa.head_dim;
  GqaWeights weights{.q = Matrix(Rows(Which::kQuery), head_dim),
                     .k = Matrix(width, 2 * width),
                     .v = Matrix(width, 2 * width),
                     .behind_norms = true};
  for (int64_t row = 0; row < weights.q.rows(); ++row)
    weights.q(row, FileRow(Which::kQuery, row) % head_dim) = RowScale(Which::kQuery, row);
  for (int64_t row = 0; row < width; ++row) {
    weights.k(row, FileRow(Which::kKey, row)) = RowScale(Which::kKey, row);
    weights.v(row, width + row) = 1;
  }
  return weights;
}

absl::StatusOr<GqaWeights> SourceWeights::Attention(int layer) const {
  if (spec_.qk_norm) return BehindNorms();
  GqaWeights weights;
  ASSIGN_OR_RETURN(weights.q, Projection(layer, Which::kQuery));
  ASSIGN_OR_RETURN(weights.k, Projection(layer, Which::kKey));
  ASSIGN_OR_RETURN(weights.v, Projection(layer, Which::kValue));
  ASSIGN_OR_RETURN(weights.q_bias, Bias(layer, Which::kQuery));
  ASSIGN_OR_RETURN(weights.k_bias, Bias(layer, Which::kKey));
  ASSIGN_OR_RETURN(weights.v_bias, Bias(layer, Which::kValue));
  return weights;
}

}  // namespace transmla
