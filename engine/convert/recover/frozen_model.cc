#include "engine/convert/recover/frozen_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/convert/recover/row_math.h"
#include "engine/model/family.h"
#include "engine/tensor/block_formats.h"

namespace transmla {
namespace {

const TensorNames& Names() { return kTransMla.Names(CheckpointFormat::kSafetensors); }

std::string OutputName(const ModelSpec& spec) {
  return std::string(spec.tie_word_embeddings ? Names().embedding : Names().output);
}

// Matrices of a layer, the feed-forward block's last.
std::vector<std::string> MatricesOf(const ModelSpec& spec, int layer) {
  std::vector<std::string> matrices;
  if (spec.qk_norm)
    for (const absl::string_view stem : {Names().q, Names().k, Names().v})
      matrices.push_back(LayerName(stem, layer) + ".weight");
  if (!spec.HasExperts(layer)) {
    for (const absl::string_view pattern : {Names().gate, Names().up, Names().down})
      matrices.push_back(LayerName(pattern, layer));
    return matrices;
  }
  matrices.push_back(LayerName(Names().router, layer));
  for (int expert = 0; expert < spec.moe.num_experts; ++expert)
    for (const absl::string_view pattern :
         {Names().expert_gate, Names().expert_up, Names().expert_down})
      matrices.push_back(ExpertName(pattern, layer, expert));
  return matrices;
}

std::vector<std::string> VectorsOf(const ModelSpec& spec, int layer) {
  std::vector<std::string> vectors;
  const auto add = [&](std::initializer_list<absl::string_view> patterns,
                       absl::string_view suffix = "") {
    for (const absl::string_view pattern : patterns)
      vectors.push_back(absl::StrCat(LayerName(pattern, layer), suffix));
  };
  add({Names().attention_norm, Names().feed_forward_norm});
  if (spec.post_norms) add({Names().post_attention_norm, Names().post_feed_forward_norm});
  if (spec.qk_norm) add({Names().q_norm, Names().k_norm});
  if (spec.qk_norm && spec.qkv_bias) add({Names().q, Names().k, Names().v}, ".bias");
  if (spec.output_bias) add({Names().attention_output}, ".bias");
  return vectors;
}

double InverseRms(const float* row, int64_t width, float eps) {
  const double sum = RowSum(width, [&](int64_t j) { return row[j] * row[j]; });
  return 1 / std::sqrt(sum / static_cast<double>(width) + eps);
}

}  // namespace

FloatMatrix RmsNorm(const FloatMatrix& in, const std::vector<float>& weight, float eps) {
  FloatMatrix out(in.rows(), in.cols());
  for (int64_t i = 0; i < in.rows(); ++i) {
    const auto scale = static_cast<float>(InverseRms(in.row(i), in.cols(), eps));
    for (int64_t j = 0; j < in.cols(); ++j) out.row(i)[j] = in.row(i)[j] * scale * weight[j];
  }
  return out;
}

FloatMatrix RmsNormBackward(const FloatMatrix& in, const std::vector<float>& weight, float eps,
                            const FloatMatrix& out_gradient) {
  FloatMatrix result(in.rows(), in.cols());
  for (int64_t i = 0; i < in.rows(); ++i) {
    const float* const x = in.row(i);
    const float* const g = out_gradient.row(i);
    const double scale = InverseRms(x, in.cols(), eps);
    const double dot = RowSum(in.cols(), [&](int64_t j) { return g[j] * weight[j] * x[j]; });
    const auto along = static_cast<float>(dot * scale * scale * scale / in.cols());
    for (int64_t j = 0; j < in.cols(); ++j)
      result.row(i)[j] = g[j] * weight[j] * static_cast<float>(scale) - along * x[j];
  }
  return result;
}

void AddToRows(const std::vector<float>& bias, FloatMatrix& rows) {
  for (int64_t i = 0; i < rows.rows(); ++i)
    for (int64_t j = 0; j < rows.cols(); ++j) rows.row(i)[j] += bias[j];
}

absl::StatusOr<FrozenModel> FrozenModel::Create(const SourceWeights& weights, int64_t kept_bytes) {
  const ModelSpec& spec = weights.spec();
  FrozenModel model(weights);
  for (const KeptTensor& kept : weights.kept()) {
    ASSIGN_OR_RETURN(const TensorView view, SourceView(weights.checkpoint(), kept));
    model.tensors_[kept.name] = {view, kept.source_name, kept.offset, nullptr};
  }
  // The output first: each step reads it three times, any other matrix twice.
  std::vector<std::string> matrices = {OutputName(spec)};
  std::vector<std::string> needed = {std::string(Names().embedding),
                                     std::string(Names().final_norm)};
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    for (std::string& name : MatricesOf(spec, layer)) matrices.push_back(std::move(name));
    for (std::string& name : VectorsOf(spec, layer)) needed.push_back(std::move(name));
  }
  needed.insert(needed.end(), matrices.begin(), matrices.end());
  for (const std::string& name : needed)
    if (!model.tensors_.contains(name))
      return absl::NotFoundError(absl::StrCat(weights.checkpoint().path(), ": no tensor ", name,
                                              ", which recovery trains through"));
  for (const std::string& name : matrices) {
    Stored& stored = model.tensors_[name];
    const int64_t bytes = int64_t{4} * stored.view.shape.rows() * stored.view.shape.cols();
    if (bytes > kept_bytes) break;
    kept_bytes -= bytes;
    ASSIGN_OR_RETURN(DecodedRows whole, model.Whole(name));
    stored.decoded = std::make_shared<const FloatMatrix>(std::move(whole.own));
  }
  return model;
}

absl::StatusOr<DecodedRows> FrozenModel::Rows(absl::string_view name, int64_t begin,
                                              int64_t count) const {
  const Stored& stored = tensors_.at(name);
  const int64_t cols = stored.view.shape.cols();
  DecodedRows rows;
  if (stored.decoded != nullptr) {
    rows.view = stored.decoded->block(begin, 0, count, cols);
    return rows;
  }
  const TensorView part = {stored.view.as<char>() + begin * RowBytes(stored.view.dtype, cols),
                           stored.view.dtype, Shape({count, cols})};
  rows.own = FloatMatrix(count, cols);
  ASSIGN_OR_RETURN(rows.own.values(), DecodeFinite(part, stored.source_name));
  rows.view = std::as_const(rows.own).view();
  return rows;
}

absl::StatusOr<DecodedRows> FrozenModel::Whole(const std::string& name) const {
  return Rows(name, 0, tensors_.at(name).view.shape.rows());
}

absl::StatusOr<std::vector<float>> FrozenModel::Vector(const std::string& name) const {
  const Stored& stored = tensors_.at(name);
  ASSIGN_OR_RETURN(std::vector<float> values, DecodeFinite(stored.view, stored.source_name));
  for (float& value : values) value += stored.offset;
  return values;
}

absl::StatusOr<FloatMatrix> FrozenModel::Multiply(const FloatView& rows, const std::string& name,
                                                  Transpose transpose_weight) const {
  ASSIGN_OR_RETURN(const DecodedRows weight, Whole(name));
  FloatMatrix out(rows.rows,
                  transpose_weight == Transpose::kYes ? weight.view.rows : weight.view.cols);
  MultiplyFloats(rows, Transpose::kNo, weight.view, transpose_weight, /*accumulate=*/false,
                 out.view());
  return out;
}

absl::StatusOr<FloatMatrix> FrozenModel::Embed(absl::Span<const int32_t> ids) const {
  FloatMatrix rows(static_cast<int64_t>(ids.size()), spec().hidden_size);
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSIGN_OR_RETURN(const DecodedRows row, Rows(Names().embedding, ids[i], 1));
    std::transform(row.view.data, row.view.data + row.view.cols, rows.row(static_cast<int64_t>(i)),
                   [this](float value) { return value * spec().embedding_scale; });
  }
  return rows;
}

absl::StatusOr<std::vector<float>> FrozenModel::FinalNorm() const {
  return Vector(std::string(Names().final_norm));
}

absl::StatusOr<DecodedRows> FrozenModel::OutputRows(int64_t begin, int64_t count) const {
  return Rows(OutputName(spec()), begin, count);
}

}  // namespace transmla
