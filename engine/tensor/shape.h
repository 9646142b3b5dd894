// Shape: up to four dimensions of a row-major tensor, outermost first: [rows, cols].
#ifndef TRANSMLA_ENGINE_TENSOR_SHAPE_H_
#define TRANSMLA_ENGINE_TENSOR_SHAPE_H_

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/types/span.h"

#include "engine/base/check.h"

namespace transmla {

// Copyable value. Dimensions are not negative.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  // REQUIRES: at most kMaxRank dimensions, none negative (CHECKed); readers validate before they
  // build a Shape.
  Shape(std::initializer_list<int64_t> dims);
  explicit Shape(absl::Span<const int64_t> dims);

  int rank() const { return rank_; }
  // REQUIRES: 0 <= i < rank().
  int64_t operator[](int i) const {
    CHECK_GE(i, 0);
    CHECK_LT(i, rank_);
    return dims_[i];
  }
  absl::Span<const int64_t> dims() const { return absl::MakeConstSpan(dims_, rank_); }

  // Product of all dimensions; 1 for rank 0.
  int64_t elements() const;
  // The last dimension; 1 for rank 0.
  int64_t cols() const { return rank_ == 0 ? 1 : dims_[rank_ - 1]; }
  // Product of all dimensions but the last.
  int64_t rows() const { return cols() == 0 ? 0 : elements() / cols(); }

  // "[576, 1536]"
  std::string ToString() const;

  friend bool operator==(const Shape& a, const Shape& b) {
    bool equal = a.rank_ == b.rank_;
    for (int i = 0; i < kMaxRank; ++i) equal &= a.dims_[i] == b.dims_[i];
    return equal;
  }
  friend bool operator!=(const Shape& a, const Shape& b) { return !(a == b); }

 private:
  int64_t dims_[kMaxRank] = {};  // 0 from rank_ on
  int rank_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TENSOR_SHAPE_H_
