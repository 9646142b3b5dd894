#include "engine/convert/moments.h"

#include <algorithm>

#include "engine/base/check.h"
#include "engine/linalg/product.h"

namespace transmla {

void SecondMoment::Add(absl::Span<const float> vectors) {
  CHECK_GT(width(), 0);
  const int64_t rows = static_cast<int64_t>(vectors.size()) / width();
  CHECK_EQ(rows * width(), static_cast<int64_t>(vectors.size()));
  Matrix block(rows, width());
  std::copy(vectors.begin(), vectors.end(), block.values().begin());
  const Matrix product = Multiply(block, Transpose::kYes, block, Transpose::kNo);
  for (size_t i = 0; i < product.values().size(); ++i) sum_.values()[i] += product.values()[i];
  count_ += rows;
}

void SecondMoment::Save(RecordWriter& record) const {
  record.Put(count_);
  record.Put(sum_);
}

SecondMoment SecondMoment::Load(RecordReader& record) {
  SecondMoment moment;
  moment.count_ = record.Number();
  moment.sum_ = record.ReadMatrix();
  return moment;
}

}  // namespace transmla
