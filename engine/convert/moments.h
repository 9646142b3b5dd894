// SecondMoment sums z·zᵀ over vectors z as they stream by, in float64: memory does not grow with
// their number.
#ifndef TRANSMLA_ENGINE_CONVERT_MOMENTS_H_
#define TRANSMLA_ENGINE_CONVERT_MOMENTS_H_

#include <cstdint>

#include "absl/types/span.h"

#include "engine/convert/work_record.h"
#include "engine/linalg/matrix.h"

namespace transmla {

// Movable value; thread-compatible.
class SecondMoment {
 public:
  SecondMoment() = default;
  explicit SecondMoment(int width) : sum_(width, width) {}

  int64_t width() const { return sum_.rows(); }
  // Vectors added so far.
  int64_t count() const { return count_; }
  // Σ z·zᵀ, [width, width], symmetric. Not divided by count().
  const Matrix& sum() const { return sum_; }

  // Adds the rows of `vectors`, [rows, width] row-major. REQUIRES: its size is a multiple of width.
  void Add(absl::Span<const float> vectors);

  void Save(RecordWriter& record) const;
  static SecondMoment Load(RecordReader& record);

 private:
  Matrix sum_;
  int64_t count_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_MOMENTS_H_
