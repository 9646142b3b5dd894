#include "engine/convert/recover/frozen_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/convert/beyond_deepseek.h"
#include "engine/convert/recover/row_math.h"
#include "engine/tensor/block_formats.h"

namespace transmla {
namespace {

constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kOutput[] = "lm_head.weight";
constexpr char kFinalNorm[] = "model.norm.weight";

std::string InLayer(int layer, absl::string_view name) {
  return absl::StrCat("model.layers.", layer, ".", name, ".weight");
}

double InverseRms(const float* row, int64_t width, float eps) {
  const double sum = RowSum(width, [&](int64_t j) { return row[j] * row[j]; });
  return 1 / std::sqrt(sum / static_cast<double>(width) + eps);
}

}  // namespace

absl::Status CheckTrainable(const ModelSpec& spec) {
  absl::string_view feature = FeatureBeyondDeepseek(spec);
  if (spec.moe.num_experts > 0) feature = "experts";
  if (spec.output_bias) feature = "a bias of the output projection";
  if (feature.empty()) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("recovery does not train models with ", feature,
                                               " (family ", spec.family,
                                               ") yet; set recovery_tokens to 0"));
}

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

absl::StatusOr<FrozenModel> FrozenModel::Create(const SourceWeights& weights, int64_t kept_bytes) {
  FrozenModel model(weights);
  for (const KeptTensor& kept : weights.kept()) {
    ASSIGN_OR_RETURN(const TensorView view, SourceView(weights.checkpoint(), kept));
    model.tensors_[kept.name] = {view, kept.source_name};
  }
  std::vector<std::string> needed = {kEmbedding, kFinalNorm};
  if (!weights.spec().tie_word_embeddings) needed.push_back(kOutput);
  for (int layer = 0; layer < weights.spec().num_layers; ++layer)
    for (const char* name : {"input_layernorm", "post_attention_layernorm", "mlp.gate_proj",
                             "mlp.up_proj", "mlp.down_proj"})
      needed.push_back(InLayer(layer, name));
  for (const std::string& name : needed)
    if (!model.tensors_.contains(name))
      return absl::NotFoundError(absl::StrCat(weights.checkpoint().path(), ": no tensor ", name,
                                              ", which recovery trains through"));
  // The output first: each step reads it three times, any other matrix twice.
  std::vector<std::string> worth_keeping = {weights.spec().tie_word_embeddings ? kEmbedding
                                                                               : kOutput};
  for (int layer = 0; layer < weights.spec().num_layers; ++layer)
    for (const char* name : {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"})
      worth_keeping.push_back(InLayer(layer, name));
  for (const std::string& name : worth_keeping) {
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
  return DecodeFinite(stored.view, stored.source_name);
}

absl::StatusOr<std::vector<float>> FrozenModel::AttentionNorm(int layer) const {
  return Vector(InLayer(layer, "input_layernorm"));
}
absl::StatusOr<std::vector<float>> FrozenModel::FeedForwardNorm(int layer) const {
  return Vector(InLayer(layer, "post_attention_layernorm"));
}
absl::StatusOr<std::vector<float>> FrozenModel::FinalNorm() const { return Vector(kFinalNorm); }

absl::StatusOr<FloatMatrix> FrozenModel::FeedForward(int layer, const FloatMatrix& in,
                                                     FeedForwardTape* tape) const {
  const auto project = [&](const char* name, FloatMatrix* out) -> absl::Status {
    ASSIGN_OR_RETURN(const DecodedRows weight, Whole(InLayer(layer, name)));
    *out = FloatMatrix(in.rows(), weight.view.rows);
    MultiplyFloats(in, Transpose::kNo, weight.view, Transpose::kYes, /*accumulate=*/false,
                   out->view());
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(project("mlp.gate_proj", &tape->gate));
  RETURN_IF_ERROR(project("mlp.up_proj", &tape->up));
  FloatMatrix hidden(in.rows(), tape->gate.cols());
  for (int64_t row = 0; row < hidden.rows(); ++row) {
    const float* const gate = tape->gate.row(row);
    const float* const up = tape->up.row(row);
    float* const out = hidden.row(row);
    for (int64_t i = 0; i < hidden.cols(); ++i) out[i] = gate[i] * FastSigmoid(gate[i]) * up[i];
  }
  ASSIGN_OR_RETURN(const DecodedRows down, Whole(InLayer(layer, "mlp.down_proj")));
  FloatMatrix out(in.rows(), down.view.rows);
  MultiplyFloats(hidden, Transpose::kNo, down.view, Transpose::kYes, /*accumulate=*/false,
                 out.view());
  return out;
}

absl::StatusOr<FloatMatrix> FrozenModel::FeedForwardBackward(
    int layer, const FeedForwardTape& tape, const FloatMatrix& out_gradient) const {
  ASSIGN_OR_RETURN(const DecodedRows down, Whole(InLayer(layer, "mlp.down_proj")));
  FloatMatrix up(out_gradient.rows(), down.view.cols), gate = up;  // gradients
  MultiplyFloats(out_gradient, Transpose::kNo, down.view, Transpose::kNo, /*accumulate=*/false,
                 up.view());
  for (int64_t row = 0; row < up.rows(); ++row) {
    const float* const gates = tape.gate.row(row);
    const float* const ups = tape.up.row(row);
    float* const to_gate = gate.row(row);
    float* const to_up = up.row(row);
    for (int64_t i = 0; i < up.cols(); ++i) {
      const float g = gates[i], sigmoid = FastSigmoid(g), hidden = to_up[i];
      to_gate[i] = hidden * ups[i] * sigmoid * (1 + g * (1 - sigmoid));
      to_up[i] = hidden * g * sigmoid;
    }
  }
  ASSIGN_OR_RETURN(const DecodedRows gate_weight, Whole(InLayer(layer, "mlp.gate_proj")));
  ASSIGN_OR_RETURN(const DecodedRows up_weight, Whole(InLayer(layer, "mlp.up_proj")));
  FloatMatrix result(out_gradient.rows(), gate_weight.view.cols);
  MultiplyFloats(gate, Transpose::kNo, gate_weight.view, Transpose::kNo, /*accumulate=*/false,
                 result.view());
  MultiplyFloats(up, Transpose::kNo, up_weight.view, Transpose::kNo, /*accumulate=*/true,
                 result.view());
  return result;
}

absl::StatusOr<FloatMatrix> FrozenModel::Embed(absl::Span<const int32_t> ids) const {
  FloatMatrix rows(static_cast<int64_t>(ids.size()), spec().hidden_size);
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSIGN_OR_RETURN(const DecodedRows row, Rows(kEmbedding, ids[i], 1));
    std::copy_n(row.view.data, row.view.cols, rows.row(static_cast<int64_t>(i)));
  }
  return rows;
}

absl::StatusOr<DecodedRows> FrozenModel::OutputRows(int64_t begin, int64_t count) const {
  return Rows(spec().tie_word_embeddings ? kEmbedding : kOutput, begin, count);
}

}  // namespace transmla
