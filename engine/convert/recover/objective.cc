#include "engine/convert/recover/objective.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/base/status.h"
#include "engine/convert/recover/row_math.h"

namespace transmla {
namespace {

// Rows of the output matrix decoded at a time.
constexpr int64_t kVocabularyBlock = 4096;
// Logits kept at a time, of each model.
constexpr int64_t kLogits = int64_t{16} << 20;

// KL of two rows of logits; `converted` becomes the gradient of its logits, times `share`, and
// `source` scratch.
double Diverge(float* source, float* converted, int64_t n, float share) {
  const float top = RowMax(source, n), converted_top = RowMax(converted, n);
  // Both up to a factor: p and q. KL = Σ p·(s − c) / Σ p − log Σ exp(s) + log Σ exp(c).
  const double apart = RowSum(n, [&](int64_t i) {
    const float difference = (source[i] - top) - (converted[i] - converted_top);
    source[i] = FastExp(source[i] - top);
    return source[i] * difference;
  });
  ExpRow(converted, n, converted_top, 1.0f);
  const double p = RowSum(n, [&](int64_t i) { return source[i]; });
  const double q = RowSum(n, [&](int64_t i) { return converted[i]; });
  const auto from_p = static_cast<float>(share / p), from_q = static_cast<float>(share / q);
  for (int64_t i = 0; i < n; ++i) converted[i] = converted[i] * from_q - source[i] * from_p;
  return apart / p + std::log(q / p);
}

// Logits become cap · tanh(logit / cap); their slopes, unless null.
void CapRow(float cap, float* row, int64_t n, float* slopes) {
  for (int64_t i = 0; i < n; ++i) {
    const float tanh = FastTanh(row[i] / cap);
    if (slopes != nullptr) slopes[i] = 1 - tanh * tanh;
    row[i] = cap * tanh;
  }
}

}  // namespace

absl::StatusOr<Loss> DistillationLoss(const FrozenModel& model, const FloatMatrix& source,
                                      const FloatMatrix& converted) {
  const int64_t tokens = converted.rows(), width = converted.cols();
  const int64_t vocabulary = model.spec().vocab_size;
  const int64_t rows_at_once = std::clamp<int64_t>(kLogits / vocabulary, 1, tokens);
  const auto for_each_block = [&](auto body) -> absl::Status {
    for (int64_t begin = 0; begin < vocabulary; begin += kVocabularyBlock) {
      const int64_t count = std::min(kVocabularyBlock, vocabulary - begin);
      ASSIGN_OR_RETURN(const DecodedRows weight, model.OutputRows(begin, count));
      body(begin, weight.view);
    }
    return absl::OkStatus();
  };
  const float cap = model.spec().final_soft_cap;
  std::vector<float> slopes(cap == 0 ? 0 : vocabulary);
  Loss loss{.kl = 0, .gradient = FloatMatrix(tokens, width)};
  for (int64_t first = 0; first < tokens; first += rows_at_once) {
    const int64_t rows = std::min(rows_at_once, tokens - first);
    FloatMatrix wanted(rows, vocabulary), got(rows, vocabulary);
    RETURN_IF_ERROR(for_each_block([&](int64_t begin, const FloatView& weight) {
      MultiplyFloats(source.block(first, 0, rows, width), Transpose::kNo, weight, Transpose::kYes,
                     /*accumulate=*/false, wanted.block(0, begin, rows, weight.rows));
      MultiplyFloats(converted.block(first, 0, rows, width), Transpose::kNo, weight,
                     Transpose::kYes, /*accumulate=*/false, got.block(0, begin, rows, weight.rows));
    }));
    for (int64_t row = 0; row < rows; ++row) {
      float* const logits = got.row(row);
      if (cap != 0) CapRow(cap, wanted.row(row), vocabulary, nullptr);
      if (cap != 0) CapRow(cap, logits, vocabulary, slopes.data());
      loss.kl += Diverge(wanted.row(row), logits, vocabulary, 1.0f / static_cast<float>(tokens)) /
                 static_cast<double>(tokens);
      for (size_t i = 0; i < slopes.size(); ++i) logits[i] *= slopes[i];
    }
    RETURN_IF_ERROR(for_each_block([&](int64_t begin, const FloatView& weight) {
      MultiplyFloats(got.block(0, begin, rows, weight.rows), Transpose::kNo, weight, Transpose::kNo,
                     /*accumulate=*/true, loss.gradient.block(first, 0, rows, width));
    }));
  }
  return loss;
}

}  // namespace transmla
