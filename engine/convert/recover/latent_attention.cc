#include "engine/convert/recover/latent_attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/check.h"
#include "engine/convert/recover/row_math.h"

namespace transmla {
namespace {

constexpr Transpose kNo = Transpose::kNo;
constexpr Transpose kYes = Transpose::kYes;

// Queries whose weights are computed at a time: keys after the last of them cost nothing.
constexpr int64_t kQueries = 128;

enum class Direction { kForward, kTransposed };

// Cosines and sines of the pairs at one position, times the magnitude.
struct Turns {
  Turns(const AttentionShape& shape, int position, Direction direction) {
    for (const float frequency : shape.inv_freq) {
      const float angle = frequency * static_cast<float>(position);
      cos.push_back(std::cos(angle) * shape.rope_magnitude);
      const float s = std::sin(angle) * shape.rope_magnitude;
      sin.push_back(direction == Direction::kTransposed ? -s : s);
    }
  }

  // Turns the pairs of `values`, neighbours.
  void Apply(float* values) const {
    for (size_t pair = 0; pair < cos.size(); ++pair) {
      const float a = values[2 * pair], b = values[2 * pair + 1];
      values[2 * pair] = a * cos[pair] - b * sin[pair];
      values[2 * pair + 1] = a * sin[pair] + b * cos[pair];
    }
  }

  std::vector<float> cos, sin;
};

// The rope parts of queries [N, H·(Dn + Dr)] and keys [N, R + Dr].
void RotateAll(const AttentionShape& shape, Direction direction, FloatMatrix& q, FloatMatrix& kv) {
  const MlaSpec& mla = shape.mla;
  const int64_t width = mla.qk_nope_head_dim + mla.qk_rope_head_dim;
  for (int64_t token = 0; token < q.rows(); ++token) {
    const Turns turns(shape, static_cast<int>(token % shape.length), direction);
    for (int head = 0; head < mla.num_attention_heads; ++head)
      turns.Apply(q.row(token) + head * width + mla.qk_nope_head_dim);
    turns.Apply(kv.row(token) + mla.kv_lora_rank);
  }
}

// One head of one sequence: where its parts are, and its keys side by side.
class Head {
 public:
  Head(const AttentionShape& shape, const AttentionTape& tape, int64_t first_token, int head)
      : shape_(shape), first_(first_token), head_(head), keys_(shape.length, key_width()) {
    const MlaSpec& mla = shape.mla;
    for (int64_t t = 0; t < shape.length; ++t) {
      float* const key = keys_.row(t);
      std::copy_n(tape.spelled.row(first_ + t) + spelled_column(), mla.qk_nope_head_dim, key);
      std::copy_n(tape.kv.row(first_ + t) + mla.kv_lora_rank, mla.qk_rope_head_dim,
                  key + mla.qk_nope_head_dim);
    }
  }

  int64_t key_width() const { return shape_.mla.qk_nope_head_dim + shape_.mla.qk_rope_head_dim; }
  int64_t spelled_column() const {
    return head_ * (shape_.mla.qk_nope_head_dim + shape_.mla.v_head_dim);
  }
  const FloatMatrix& keys() const { return keys_; }
  // This head's part of matrices of all heads, positions [begin, end); of const matrices a view to
  // read.
  template <typename M>
  auto queries(M& q, int64_t begin, int64_t end) const {
    return q.block(first_ + begin, head_ * key_width(), end - begin, key_width());
  }
  template <typename M>
  auto values(M& spelled, int64_t begin, int64_t end) const {
    return spelled.block(first_ + begin, spelled_column() + shape_.mla.qk_nope_head_dim,
                         end - begin, shape_.mla.v_head_dim);
  }
  template <typename M>
  auto output(M& attended, int64_t begin, int64_t end) const {
    return attended.block(first_ + begin, head_ * shape_.mla.v_head_dim, end - begin,
                          shape_.mla.v_head_dim);
  }

  // Attention's weights of queries [begin, end), [end - begin, end]; 0 for positions that they do
  // not see. With a soft cap, `slopes`, if not null, becomes the slope of the cap at each score.
  FloatMatrix Weights(const FloatMatrix& q, int64_t begin, int64_t end, FloatMatrix* slopes) const {
    FloatMatrix weights(end - begin, end);
    const bool capped = shape_.soft_cap != 0;
    if (capped && slopes != nullptr) *slopes = FloatMatrix(end - begin, end);
    MultiplyFloats(queries(q, begin, end), kNo, keys_.block(0, 0, end, key_width()), kYes,
                   /*accumulate=*/false, weights.view());
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = shape_.window == 0 ? 0 : std::max<int64_t>(0, t + 1 - shape_.window);
      float* const row = weights.row(t - begin) + first;
      const int64_t seen = t + 1 - first;
      if (capped) Cap(row, seen, slopes == nullptr ? nullptr : slopes->row(t - begin) + first);
      ExpRow(row, seen, RowMax(row, seen), capped ? 1.0f : shape_.scale);
      const auto share = static_cast<float>(1 / RowSum(seen, [&](int64_t s) { return row[s]; }));
      for (int64_t s = 0; s < seen; ++s) row[s] *= share;
      std::fill(row - first, row, 0.0f);
      std::fill(row + seen, row - first + end, 0.0f);
    }
    return weights;
  }

  // Calls body(begin, end) for all blocks of queries.
  template <typename Body>
  void ForEachBlock(Body body) const {
    for (int64_t begin = 0; begin < shape_.length; begin += kQueries)
      body(begin, std::min<int64_t>(shape_.length, begin + kQueries));
  }

 private:
  // Products of queries and keys become scores within the cap.
  void Cap(float* row, int64_t n, float* slopes) const {
    const float cap = shape_.soft_cap, scale = shape_.scale / cap;
    for (int64_t s = 0; s < n; ++s) {
      const float tanh = FastTanh(row[s] * scale);
      if (slopes != nullptr) slopes[s] = 1 - tanh * tanh;
      row[s] = cap * tanh;
    }
  }

  const AttentionShape& shape_;
  const int64_t first_;
  const int64_t head_;
  FloatMatrix keys_;
};

template <typename Body>
void ForEachHead(const AttentionShape& shape, const AttentionTape& tape, Body body) {
  CHECK_EQ(tape.q.rows() % shape.length, 0);
  for (int64_t first = 0; first < tape.q.rows(); first += shape.length)
    for (int head = 0; head < shape.mla.num_attention_heads; ++head)
      body(Head(shape, tape, first, head), first);
}

void AddBias(const FloatMatrix& bias, FloatMatrix& rows) {
  if (bias.empty()) return;
  for (int64_t i = 0; i < rows.rows(); ++i)
    for (int64_t j = 0; j < rows.cols(); ++j) rows.row(i)[j] += bias.row(0)[j];
}

void AddRows(const FloatMatrix& rows, FloatMatrix& bias) {
  if (bias.empty()) return;
  for (int64_t i = 0; i < rows.rows(); ++i)
    for (int64_t j = 0; j < rows.cols(); ++j) bias.row(0)[j] += rows.row(i)[j];
}

// What a projection sees of `in`, and which of its rows do.
struct InputBlock {
  int64_t col, cols, row, rows;
};

// The whole of it, or each head its normed query.
std::vector<InputBlock> QueryInputs(const AttentionShape& shape, const AttentionParameters& p) {
  if (shape.normed_head_dim == 0) return {{0, p.q.cols(), 0, p.q.rows()}};
  const int64_t heads = shape.mla.num_attention_heads, rows = p.q.rows() / heads;
  std::vector<InputBlock> blocks;
  for (int64_t h = 0; h < heads; ++h)
    blocks.push_back({h * shape.normed_head_dim, shape.normed_head_dim, h * rows, rows});
  return blocks;
}

// The whole of it, or what is behind the queries.
InputBlock KeyInput(const AttentionShape& shape, const AttentionParameters& p) {
  const int64_t queries = int64_t{shape.mla.num_attention_heads} * shape.normed_head_dim;
  return {queries, p.kv_a.cols(), 0, p.kv_a.rows()};
}

FloatMatrix Project(const FloatView& in, const FloatMatrix& weight, const FloatMatrix& bias) {
  FloatMatrix out(in.rows, weight.rows());
  MultiplyFloats(in, kNo, weight.view(), kYes, /*accumulate=*/false, out.view());
  AddBias(bias, out);
  return out;
}

// Gradients of what the first projections make, before RoPE.
struct ProjectedGradients {
  const FloatMatrix& q;   // [N, H·(Dn + Dr)]
  const FloatMatrix& kv;  // [N, R + Dr]
};

// The gradient of `in`; adds those of the projections and their biases to `gradient`.
FloatMatrix ProjectBackward(const AttentionShape& shape, const AttentionParameters& parameters,
                            const FloatMatrix& in, const AttentionTape& tape,
                            const ProjectedGradients& projected, AttentionParameters* gradient) {
  const auto& [q, kv] = projected;
  const int64_t tokens = in.rows();
  AddRows(q, gradient->q_bias);
  AddRows(kv, gradient->kv_a_bias);
  FloatMatrix result(tokens, in.cols());
  const bool low = !parameters.q_a.empty();
  FloatMatrix q_low(tape.q_low.rows(), tape.q_low.cols());
  const FloatMatrix& q_in = low ? tape.q_low : in;
  FloatMatrix& q_in_gradient = low ? q_low : result;
  for (const auto& [col, cols, row, rows] : QueryInputs(shape, parameters)) {
    const FloatView rows_of_q = q.block(0, row, tokens, rows);
    MultiplyFloats(rows_of_q, kYes, q_in.block(0, col, tokens, cols), kNo, /*accumulate=*/true,
                   gradient->q.block(row, 0, rows, cols));
    MultiplyFloats(rows_of_q, kNo, parameters.q.block(row, 0, rows, cols), kNo,
                   /*accumulate=*/false, q_in_gradient.block(0, col, tokens, cols));
  }
  if (low) {
    AddRows(q_low, gradient->q_a_bias);
    MultiplyFloats(q_low.view(), kYes, in.view(), kNo, /*accumulate=*/true, gradient->q_a.view());
    MultiplyFloats(q_low.view(), kNo, parameters.q_a.view(), kNo, /*accumulate=*/false,
                   result.view());
  }
  const InputBlock keys = KeyInput(shape, parameters);
  MultiplyFloats(kv.view(), kYes, in.block(0, keys.col, tokens, keys.cols), kNo,
                 /*accumulate=*/true, gradient->kv_a.view());
  MultiplyFloats(kv.view(), kNo, parameters.kv_a.view(), kNo, /*accumulate=*/true,
                 result.block(0, keys.col, tokens, keys.cols));
  return result;
}

}  // namespace

AttentionParameters ZerosLike(const AttentionParameters& parameters) {
  AttentionParameters zeros = parameters;
  for (FloatMatrix* matrix : zeros.All()) *matrix = FloatMatrix(matrix->rows(), matrix->cols());
  return zeros;
}

FloatMatrix AttentionForward(const AttentionShape& shape, const AttentionParameters& parameters,
                             const FloatMatrix& in, AttentionTape* tape) {
  const bool low = !parameters.q_a.empty();
  tape->q_low = low ? Project(in, parameters.q_a, parameters.q_a_bias) : FloatMatrix();
  const FloatMatrix& q_in = low ? tape->q_low : in;
  tape->q = FloatMatrix(in.rows(), parameters.q.rows());
  for (const auto& [col, cols, row, rows] : QueryInputs(shape, parameters))
    MultiplyFloats(q_in.block(0, col, in.rows(), cols), kNo, parameters.q.block(row, 0, rows, cols),
                   kYes, /*accumulate=*/false, tape->q.block(0, row, in.rows(), rows));
  AddBias(parameters.q_bias, tape->q);
  const InputBlock keys = KeyInput(shape, parameters);
  tape->kv =
      Project(in.block(0, keys.col, in.rows(), keys.cols), parameters.kv_a, parameters.kv_a_bias);
  RotateAll(shape, Direction::kForward, tape->q, tape->kv);
  tape->spelled =
      Project(tape->kv.block(0, 0, in.rows(), shape.mla.kv_lora_rank), parameters.kv_b, {});
  tape->attended = FloatMatrix(in.rows(), parameters.o.cols());
  ForEachHead(shape, *tape, [&](const Head& head, int64_t) {
    head.ForEachBlock([&](int64_t begin, int64_t end) {
      const FloatMatrix weights = head.Weights(tape->q, begin, end, nullptr);
      MultiplyFloats(weights.view(), kNo, head.values(std::as_const(tape->spelled), 0, end), kNo,
                     /*accumulate=*/false, head.output(tape->attended, begin, end));
    });
  });
  return Project(tape->attended, parameters.o, parameters.o_bias);
}

FloatMatrix AttentionBackward(const AttentionShape& shape, const AttentionParameters& parameters,
                              const FloatMatrix& in, const AttentionTape& tape,
                              const FloatMatrix& out_gradient, AttentionParameters* gradient) {
  const MlaSpec& mla = shape.mla;
  const int64_t tokens = in.rows(), length = shape.length;
  AddRows(out_gradient, gradient->o_bias);
  MultiplyFloats(out_gradient.view(), kYes, tape.attended.view(), kNo, /*accumulate=*/true,
                 gradient->o.view());
  FloatMatrix attended(tokens, parameters.o.cols());  // from here on gradients of the named
  MultiplyFloats(out_gradient.view(), kNo, parameters.o.view(), kNo, /*accumulate=*/false,
                 attended.view());

  FloatMatrix q(tokens, parameters.q.rows());
  FloatMatrix kv(tokens, parameters.kv_a.rows());
  FloatMatrix spelled(tokens, parameters.kv_b.rows());
  ForEachHead(shape, tape, [&](const Head& head, int64_t first) {
    FloatMatrix keys(length, head.key_width());
    head.ForEachBlock([&](int64_t begin, int64_t end) {
      FloatMatrix slopes;
      const FloatMatrix weights = head.Weights(tape.q, begin, end, &slopes);
      const FloatView out = head.output(std::as_const(attended), begin, end);
      MultiplyFloats(weights.view(), kYes, out, kNo, /*accumulate=*/true,
                     head.values(spelled, 0, end));
      FloatMatrix scores(end - begin, end);
      MultiplyFloats(out, kNo, head.values(tape.spelled, 0, end), kYes, /*accumulate=*/false,
                     scores.view());
      // Softmax: the gradient of a score is its weight times what its own gradient is above the
      // mean; 0 for positions that are not seen, as their weights are.
      for (int64_t t = 0; t < scores.rows(); ++t) {
        const float* const weight = weights.row(t);
        float* const score = scores.row(t);
        const auto mean =
            static_cast<float>(RowSum(end, [&](int64_t s) { return weight[s] * score[s]; }));
        for (int64_t s = 0; s < end; ++s) score[s] = weight[s] * (score[s] - mean) * shape.scale;
        if (!slopes.empty())
          for (int64_t s = 0; s < end; ++s) score[s] *= slopes.row(t)[s];
      }
      MultiplyFloats(scores.view(), kNo, head.keys().block(0, 0, end, head.key_width()), kNo,
                     /*accumulate=*/false, head.queries(q, begin, end));
      MultiplyFloats(scores.view(), kYes, head.queries(tape.q, begin, end), kNo,
                     /*accumulate=*/true, keys.block(0, 0, end, head.key_width()));
    });
    for (int64_t t = 0; t < length; ++t) {
      std::copy_n(keys.row(t), mla.qk_nope_head_dim,
                  spelled.row(first + t) + head.spelled_column());
      float* const rope = kv.row(first + t) + mla.kv_lora_rank;  // shared by all heads
      for (int i = 0; i < mla.qk_rope_head_dim; ++i)
        rope[i] += keys.row(t)[mla.qk_nope_head_dim + i];
    }
  });

  const FloatView latent = tape.kv.block(0, 0, tokens, mla.kv_lora_rank);
  MultiplyFloats(spelled.view(), kYes, latent, kNo, /*accumulate=*/true, gradient->kv_b.view());
  MultiplyFloats(spelled.view(), kNo, parameters.kv_b.view(), kNo, /*accumulate=*/false,
                 kv.block(0, 0, tokens, mla.kv_lora_rank));
  RotateAll(shape, Direction::kTransposed, q, kv);
  return ProjectBackward(shape, parameters, in, tape, {q, kv}, gradient);
}

}  // namespace transmla
