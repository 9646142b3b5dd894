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

// The stem of the matrix whose rows are the heads' queries. `indirect`: of a query's low rank, or
// of its heads behind their norms.
absl::string_view QueryStem(const TensorNames& names, bool indirect) {
  return indirect ? names.q_b : names.q;
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

GgufTypes ResolveGgufTypes(DType dtype, OutputFormat format) {
  GgufTypes types{.matrices = dtype, .latent = dtype};
  types.per_head = IsBlockQuantized(dtype) ? DType::kBF16 : dtype;
  types.harmless_norms = format == OutputFormat::kGgufDeepseek2;
  if (types.harmless_norms && dtype != DType::kF32) types.latent = DType::kBF16;
  return types;
}

std::vector<TensorInfo> GgufLatentInfos(int layer, const ModelSpec& source, const MlaSpec& mla,
                                        const LatentBiases& biases, bool own_output,
                                        const GgufTypes& types) {
  const TensorNames& names = LatentGgufNames();
  const absl::string_view q = QueryStem(names, mla.q_lora_rank > 0 || source.qk_norm);
  const int64_t hidden = source.hidden_size;
  const int64_t heads = mla.num_attention_heads;
  const int64_t rank = mla.kv_lora_rank;
  const int64_t q_rows = heads * (mla.qk_nope_head_dim + mla.qk_rope_head_dim);
  // What queries and cache rows are made of.
  const int64_t q_cols = source.qk_norm        ? int64_t{source.gqa.head_dim}
                         : mla.q_lora_rank > 0 ? int64_t{mla.q_lora_rank}
                                               : hidden;
  const int64_t kv_cols =
      source.qk_norm ? 2 * int64_t{source.gqa.num_key_value_heads} * source.gqa.head_dim : hidden;
  const int64_t kv_rows = rank + mla.qk_rope_head_dim;
  std::vector<TensorInfo> infos;
  const auto add_matrix = [&](const std::string& name, DType dtype, int64_t rows, int64_t cols) {
    infos.push_back({name, TypeOfRows(dtype, cols), Shape({rows, cols})});
  };
  const auto add_vector = [&](const std::string& name, int64_t n) {
    infos.push_back({name, DType::kF32, Shape({n})});
  };
  if (mla.q_lora_rank > 0) {
    add_matrix(WeightName(names.q_a, layer), types.latent, mla.q_lora_rank, hidden);
    if (types.harmless_norms) add_vector(LayerName(names.q_a_norm, layer), mla.q_lora_rank);
  }
  add_matrix(WeightName(q, layer), source.qk_norm ? types.per_head : types.matrices, q_rows,
             q_cols);
  if (biases.query) add_vector(BiasName(q, layer), q_rows);
  add_matrix(WeightName(names.kv_a, layer), source.qk_norm ? types.per_head : types.latent, kv_rows,
             kv_cols);
  if (biases.latent) add_vector(BiasName(names.kv_a, layer), kv_rows);
  if (types.harmless_norms) add_vector(LayerName(names.kv_a_norm, layer), rank);
  if (mla.qk_nope_head_dim > 0) {
    infos.push_back({LayerName(names.k_b, layer), types.per_head,
                     Shape({heads, rank, int64_t{mla.qk_nope_head_dim}})});
  }
  infos.push_back(
      {LayerName(names.v_b, layer), types.per_head, Shape({heads, int64_t{mla.v_head_dim}, rank})});
  if (own_output) {
    add_matrix(WeightName(names.attention_output, layer), types.matrices, hidden,
               heads * mla.v_head_dim);
  }
  if (biases.output) add_vector(BiasName(names.attention_output, layer), hidden);
  // deepseek2 takes them from the base.
  if (!types.harmless_norms) {
    add_vector(LayerName(names.inv_freq, layer), mla.qk_rope_head_dim / 2);
  }
  return infos;
}

std::map<std::string, std::string> GgufMatrixTypes(const ModelSpec& source, const MlaSpec& mla,
                                                   const GgufTypes& types) {
  std::map<std::string, std::string> names;
  for (const TensorInfo& info : GgufLatentInfos(0, source, mla, {}, /*own_output=*/false, types)) {
    if (info.shape.rank() == 1) continue;
    absl::string_view name = info.name;
    CHECK(absl::ConsumePrefix(&name, "blk.0.") && absl::ConsumeSuffix(&name, ".weight"));
    names.emplace(name, DTypeName(info.dtype));
  }
  return names;
}

std::vector<GgufLatentTensor> GgufLatentTensors(int layer, const LatentWeights& weights,
                                                const MlaSpec& mla, float norm_weight) {
  const TensorNames& names = LatentGgufNames();
  const absl::string_view q = QueryStem(names, !weights.q_a.empty() || weights.behind_norms);
  const int64_t nope = mla.qk_nope_head_dim, value = mla.v_head_dim;
  CHECK_EQ(weights.kv_b.rows(), mla.num_attention_heads * (nope + value));
  std::vector<GgufLatentTensor> tensors;
  const auto add = [&](std::string name, absl::Span<const double> values) {
    tensors.push_back({std::move(name), Floats(values)});
  };
  const auto add_norm = [&](std::string name, int64_t n) {
    if (norm_weight != 0) tensors.push_back({std::move(name), std::vector<float>(n, norm_weight)});
  };
  if (!weights.q_a.empty()) {
    add(WeightName(names.q_a, layer), weights.q_a.values());
    add_norm(LayerName(names.q_a_norm, layer), weights.q_a.rows());
  }
  add(WeightName(q, layer), weights.q.values());
  if (!weights.q_bias.empty()) add(BiasName(q, layer), weights.q_bias);
  add(WeightName(names.kv_a, layer), weights.kv_a.values());
  if (!weights.kv_a_bias.empty()) add(BiasName(names.kv_a, layer), weights.kv_a_bias);
  add_norm(LayerName(names.kv_a_norm, layer), mla.kv_lora_rank);
  if (nope > 0) {
    tensors.push_back({LayerName(names.k_b, layer),
                       HeadParts(weights.kv_b, nope + value, 0, nope, /*transposed=*/true)});
  }
  tensors.push_back({LayerName(names.v_b, layer),
                     HeadParts(weights.kv_b, nope + value, nope, value, /*transposed=*/false)});
  if (!weights.o.empty()) add(WeightName(names.attention_output, layer), weights.o.values());
  if (!weights.o_bias.empty()) add(BiasName(names.attention_output, layer), weights.o_bias);
  if (norm_weight == 0) tensors.push_back({LayerName(names.inv_freq, layer), weights.inv_freq});
  return tensors;
}

}  // namespace transmla
