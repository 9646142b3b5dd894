#include "engine/convert/recover/normed_heads.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/model/family.h"

namespace transmla {
namespace {

// One of the three projections: its name, that of its norm or none, and its columns of the result.
struct Part {
  std::string stem, norm;
  int64_t begin, width;
};

std::vector<Part> PartsOf(const ModelSpec& spec, int layer) {
  const TensorNames& names = kTransMla.Names(CheckpointFormat::kSafetensors);
  const int64_t queries = int64_t{spec.gqa.num_attention_heads} * spec.gqa.head_dim;
  const int64_t keys = int64_t{spec.gqa.num_key_value_heads} * spec.gqa.head_dim;
  return {{LayerName(names.q, layer), LayerName(names.q_norm, layer), 0, queries},
          {LayerName(names.k, layer), LayerName(names.k_norm, layer), queries, keys},
          {LayerName(names.v, layer), "", queries + keys, keys}};
}

// The same values in rows of another width.
FloatMatrix Reshape(FloatMatrix matrix, int64_t cols) {
  FloatMatrix shaped(matrix.rows() * matrix.cols() / cols, cols);
  shaped.values() = std::move(matrix.values());
  return shaped;
}

void CopyColumns(const FloatMatrix& from, int64_t from_col, FloatMatrix& to, int64_t to_col,
                 int64_t count) {
  for (int64_t i = 0; i < from.rows(); ++i)
    std::copy_n(from.row(i) + from_col, count, to.row(i) + to_col);
}

}  // namespace

absl::Status NormedHeadsForward(const FrozenModel& model, int layer, const FloatMatrix& in,
                                NormedHeadsTape* tape) {
  const ModelSpec& spec = model.spec();
  const std::vector<Part> parts = PartsOf(spec, layer);
  tape->out = FloatMatrix(in.rows(), parts[2].begin + parts[2].width);
  FloatMatrix* const kept[] = {&tape->q, &tape->k, nullptr};
  for (int i = 0; i < 3; ++i) {
    const Part& part = parts[i];
    ASSIGN_OR_RETURN(FloatMatrix rows, model.Multiply(in, part.stem + ".weight", Transpose::kYes));
    if (spec.qkv_bias) {
      ASSIGN_OR_RETURN(const std::vector<float> bias, model.Vector(part.stem + ".bias"));
      AddToRows(bias, rows);
    }
    if (kept[i] != nullptr) {
      ASSIGN_OR_RETURN(const std::vector<float> norm, model.Vector(part.norm));
      *kept[i] = Reshape(std::move(rows), spec.gqa.head_dim);
      rows = Reshape(RmsNorm(*kept[i], norm, spec.norm_eps), part.width);
    }
    CopyColumns(rows, 0, tape->out, part.begin, part.width);
  }
  return absl::OkStatus();
}

absl::StatusOr<FloatMatrix> NormedHeadsBackward(const FrozenModel& model, int layer,
                                                const NormedHeadsTape& tape,
                                                const FloatMatrix& out_gradient) {
  const ModelSpec& spec = model.spec();
  const std::vector<Part> parts = PartsOf(spec, layer);
  const FloatMatrix* const kept[] = {&tape.q, &tape.k, nullptr};
  FloatMatrix result(out_gradient.rows(), spec.hidden_size);
  for (int i = 0; i < 3; ++i) {
    const Part& part = parts[i];
    FloatMatrix gradient(out_gradient.rows(), part.width);
    CopyColumns(out_gradient, part.begin, gradient, 0, part.width);
    if (kept[i] != nullptr) {
      ASSIGN_OR_RETURN(const std::vector<float> norm, model.Vector(part.norm));
      gradient = Reshape(RmsNormBackward(*kept[i], norm, spec.norm_eps,
                                         Reshape(std::move(gradient), spec.gqa.head_dim)),
                         part.width);
    }
    ASSIGN_OR_RETURN(const DecodedRows weight, model.Whole(part.stem + ".weight"));
    MultiplyFloats(gradient.view(), Transpose::kNo, weight.view, Transpose::kNo,
                   /*accumulate=*/true, result.view());
  }
  return result;
}

}  // namespace transmla
