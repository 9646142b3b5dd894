#include "engine/convert/gguf_attention.h"

#include <cstdint>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"

#include "engine/base/check.h"
#include "engine/model/family.h"

namespace transmla {
namespace {

std::string WeightName(absl::string_view stem, int layer) {
  return LayerName(stem, layer) + ".weight";
}
std::string BiasName(absl::string_view stem, int layer) { return LayerName(stem, layer) + ".bias"; }

// The stem of the matrix whose rows are the heads' queries.
absl::string_view QueryStem(const TensorNames& names, bool low_rank) {
  return low_rank ? names.q_b : names.q;
}

DType TypeOfRows(DType wanted, int64_t cols) {
  return cols % TraitsOf(wanted).block_elements == 0 ? wanted : DType::kBF16;
}

std::vector<float> Floats(absl::Span<const double> values) {
  return {values.begin(), values.end()};
}

// Rows [first, first + count) of each head's `group` rows of `m`, one head after the other;
// `transposed`: each head's part the other way round.
std::vector<float> HeadParts(const Matrix& m, int64_t group, int64_t first, int64_t count,
                             bool transposed) {
  std::vector<float> values;
  values.reserve(m.rows() / group * count * m.cols());
  for (int64_t head = 0; head < m.rows(); head += group) {
    const int64_t rows = transposed ? m.cols() : count, cols = transposed ? count : m.cols();
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < cols; ++j) {
        values.push_back(
            static_cast<float>(m(head + first + (transposed ? j : i), transposed ? i : j)));
      }
    }
  }
  return values;
}

}  // namespace

std::vector<TensorInfo> GgufLatentInfos(int layer, const ModelSpec& source, const MlaSpec& mla,
                                        const LatentBiases& biases, DType dtype) {
  const TensorNames& names = LatentGgufNames();
  const absl::string_view q = QueryStem(names, mla.q_lora_rank > 0);
  const int64_t hidden = source.hidden_size;
  const int64_t heads = mla.num_attention_heads;
  const int64_t rank = mla.kv_lora_rank;
  const int64_t q_rows = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
  const int64_t q_cols = mla.q_lora_rank > 0 ? int64_t{mla.q_lora_rank} : hidden;
  const int64_t kv_rows = rank + mla.qk_rope_head_dim;
  const DType per_head = IsBlockQuantized(dtype) ? DType::kBF16 : dtype;
  std::vector<TensorInfo> infos;
  const auto add_matrix = [&](const std::string& name, int64_t rows, int64_t cols) {
    infos.push_back({name, TypeOfRows(dtype, cols), Shape({rows, cols})});
  };
  const auto add_vector = [&](const std::string& name, int64_t n) {
    infos.push_back({name, DType::kF32, Shape({n})});
  };
  if (mla.q_lora_rank > 0) add_matrix(WeightName(names.q_a, layer), mla.q_lora_rank, hidden);
  add_matrix(WeightName(q, layer), q_rows, q_cols);
  if (biases.query) add_vector(BiasName(q, layer), q_rows);
  add_matrix(WeightName(names.kv_a, layer), kv_rows, hidden);
  if (biases.latent) add_vector(BiasName(names.kv_a, layer), kv_rows);
  if (mla.qk_nope_head_dim > 0) {
    infos.push_back({LayerName(names.k_b, layer), per_head,
                     Shape({heads, rank, int64_t{mla.qk_nope_head_dim}})});
  }
  infos.push_back(
      {LayerName(names.v_b, layer), per_head, Shape({heads, int64_t{mla.v_head_dim}, rank})});
  if (biases.output) add_vector(BiasName(names.attention_output, layer), hidden);
  add_vector(LayerName(names.inv_freq, layer), mla.qk_rope_head_dim / 2);
  return infos;
}

std::map<std::string, std::string> GgufMatrixTypes(const ModelSpec& source, const MlaSpec& mla,
                                                   DType dtype) {
  std::map<std::string, std::string> types;
  for (const TensorInfo& info : GgufLatentInfos(0, source, mla, {}, dtype)) {
    if (info.shape.rank() == 1) continue;
    absl::string_view name = info.name;
    CHECK(absl::ConsumePrefix(&name, "blk.0.") && absl::ConsumeSuffix(&name, ".weight"));
    types.emplace(name, DTypeName(info.dtype));
  }
  return types;
}

std::vector<GgufLatentTensor> GgufLatentTensors(int layer, const LatentWeights& weights,
                                                const MlaSpec& mla) {
  const TensorNames& names = LatentGgufNames();
  const absl::string_view q = QueryStem(names, !weights.q_a.empty());
  const int64_t nope = mla.qk_nope_head_dim, value = mla.v_head_dim;
  CHECK_EQ(weights.kv_b.rows(), mla.num_attention_heads * (nope + value));
  std::vector<GgufLatentTensor> tensors;
  const auto add = [&](std::string name, absl::Span<const double> values) {
    tensors.push_back({std::move(name), Floats(values)});
  };
  if (!weights.q_a.empty()) add(WeightName(names.q_a, layer), weights.q_a.values());
  add(WeightName(q, layer), weights.q.values());
  if (!weights.q_bias.empty()) add(BiasName(q, layer), weights.q_bias);
  add(WeightName(names.kv_a, layer), weights.kv_a.values());
  if (!weights.kv_a_bias.empty()) add(BiasName(names.kv_a, layer), weights.kv_a_bias);
  if (nope > 0) {
    tensors.push_back({LayerName(names.k_b, layer),
                       HeadParts(weights.kv_b, nope + value, 0, nope, /*transposed=*/true)});
  }
  tensors.push_back({LayerName(names.v_b, layer),
                     HeadParts(weights.kv_b, nope + value, nope, value, /*transposed=*/false)});
  if (!weights.o_bias.empty()) add(BiasName(names.attention_output, layer), weights.o_bias);
  tensors.push_back({LayerName(names.inv_freq, layer), weights.inv_freq});
  return tensors;
}

}  // namespace transmla
