#include "engine/convert/recover/eigenbasis.h"

#include <algorithm>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/linalg/matrix.h"
#include "engine/linalg/symmetric_eigen.h"

namespace transmla {
namespace {

constexpr Transpose kNo = Transpose::kNo;
constexpr Transpose kYes = Transpose::kYes;

}  // namespace

Eigenbasis::Eigenbasis(MatrixSide side, const std::vector<int64_t>& blocks, int64_t largest_block)
    : side_(side) {
  int64_t begin = 0;
  for (const int64_t size : blocks) {
    const int64_t parts = (size + largest_block - 1) / largest_block;
    for (int64_t part = 0; part < parts; ++part) {
      const int64_t from = begin + size * part / parts, to = begin + size * (part + 1) / parts;
      blocks_.push_back({.begin = from,
                         .size = to - from,
                         .moment = FloatMatrix(to - from, to - from),
                         .vectors = {}});
    }
    begin += size;
  }
}

void Eigenbasis::Observe(const FloatMatrix& gradient, float decay) {
  for (Block& block : blocks_) {
    for (float& value : block.moment.values()) value *= decay / (1 - decay);
    if (side_ == MatrixSide::kRows) {
      const FloatView rows = gradient.block(block.begin, 0, block.size, gradient.cols());
      MultiplyFloats(rows, kNo, rows, kYes, /*accumulate=*/true, block.moment.view());
    } else {
      const FloatView columns = gradient.block(0, block.begin, gradient.rows(), block.size);
      MultiplyFloats(columns, kYes, columns, kNo, /*accumulate=*/true, block.moment.view());
    }
    for (float& value : block.moment.values()) value *= 1 - decay;
  }
}

absl::Status Eigenbasis::Refresh() {
  for (Block& block : blocks_) {
    double trace = 0;
    for (int64_t i = 0; i < block.size; ++i) trace += block.moment.row(i)[i];
    if (trace == 0) continue;  // nothing seen
    // Of trace 1, for gradients are small and their squares smaller; symmetric to the last bit.
    Matrix moment(block.size, block.size);
    for (int64_t i = 0; i < block.size; ++i)
      for (int64_t j = 0; j < block.size; ++j)
        moment(i, j) = (double{block.moment.row(i)[j]} + block.moment.row(j)[i]) / (2 * trace);
    ASSIGN_OR_RETURN(const SymmetricEigen eigen, DecomposeSymmetric(moment));
    block.vectors = FloatMatrix(block.size, block.size);
    std::transform(eigen.vectors.values().begin(), eigen.vectors.values().end(),
                   block.vectors.values().begin(),
                   [](double value) { return static_cast<float>(value); });
  }
  return absl::OkStatus();
}

void Eigenbasis::Save(RecordWriter& record) const {
  for (const Block& block : blocks_) {
    record.Put(block.moment);
    record.Put(int64_t{block.vectors.empty()});
    if (!block.vectors.empty()) record.Put(block.vectors);
  }
}

void Eigenbasis::Load(RecordReader& record) {
  for (Block& block : blocks_) {
    record.ReadTo(block.moment);
    block.vectors = {};
    if (record.Number() != 0) continue;
    block.vectors = FloatMatrix(block.size, block.size);
    record.ReadTo(block.vectors);
  }
}

void Eigenbasis::Turn(FloatMatrix& matrix, Transpose transpose) const {
  if (blocks_.empty()) return;
  FloatMatrix turned = matrix;
  for (const Block& block : blocks_) {
    if (block.vectors.empty()) continue;
    if (side_ == MatrixSide::kRows) {
      CHECK_LE(block.begin + block.size, matrix.rows());
      MultiplyFloats(block.vectors, transpose,
                     matrix.block(block.begin, 0, block.size, matrix.cols()), kNo,
                     /*accumulate=*/false, turned.block(block.begin, 0, block.size, matrix.cols()));
    } else {
      CHECK_LE(block.begin + block.size, matrix.cols());
      MultiplyFloats(matrix.block(0, block.begin, matrix.rows(), block.size), kNo, block.vectors,
                     transpose == kYes ? kNo : kYes, /*accumulate=*/false,
                     turned.block(0, block.begin, matrix.rows(), block.size));
    }
  }
  matrix = std::move(turned);
}

}  // namespace transmla
