#include "engine/tensor/shape.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "engine/base/check.h"

namespace transmla {

Shape::Shape(std::initializer_list<int64_t> dims)
    : Shape(absl::MakeConstSpan(dims.begin(), dims.size())) {}

Shape::Shape(absl::Span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  CHECK_LE(rank_, kMaxRank);
  for (int i = 0; i < rank_; ++i) {
    CHECK_GE(dims[i], 0);
    dims_[i] = dims[i];
  }
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (const int64_t dim : dims()) product *= dim;
  return product;
}

std::string Shape::ToString() const { return absl::StrCat("[", absl::StrJoin(dims(), ", "), "]"); }

}  // namespace transmla
