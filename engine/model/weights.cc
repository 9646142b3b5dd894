#include "engine/model/weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "engine/base/check.h"
#include "engine/tensor/block_formats.h"
#include "engine/tensor/host_tensor.h"

namespace transmla {
namespace {

// More lines help nobody.
constexpr size_t kMaxProblems = 12;

std::shared_ptr<HostTensor> NewTensor(DType dtype, const Shape& shape) {
  return std::make_shared<HostTensor>(dtype, shape);
}

// Row `row` of a matrix as float.
void ReadRow(const TensorView& view, int64_t row, absl::Span<float> out) {
  DequantizeRow(view.dtype, view.as<char>() + row * RowBytes(view.dtype, view.shape.cols()), out);
}

}  // namespace

RowOrder HalfSplitOrder(int heads, int width, int rope) {
  RowOrder order(static_cast<size_t>(heads) * width);
  for (int h = 0; h < heads; ++h) {
    const int64_t base = int64_t{h} * width;
    const int plain = width - rope;
    for (int i = 0; i < plain; ++i) order[base + i] = base + i;
    for (int i = 0; i < rope / 2; ++i) {
      order[base + plain + i] = base + plain + 2 * i;
      order[base + plain + rope / 2 + i] = base + plain + 2 * i + 1;
    }
  }
  return order;
}

void WeightLoader::Note(std::string problem) {
  if (problems_.empty() || problems_.back() != problem) problems_.push_back(std::move(problem));
}

const TensorView* WeightLoader::Find(const std::string& name, const Shape& shape) {
  absl::StatusOr<TensorView> view = checkpoint_->Tensor(name);
  if (!view.ok()) {
    Note(absl::StrCat("missing ", name, " ", shape.ToString()));
    return nullptr;
  }
  used_.insert(name);
  if (view->shape != shape) {
    Note(absl::StrCat(name, " is ", view->shape.ToString(), ", expected ", shape.ToString()));
    return nullptr;
  }
  if (!IsDequantizable(view->dtype)) {
    Note(absl::StrCat(name, " has type ", DTypeName(view->dtype), ", which weights cannot have"));
    return nullptr;
  }
  found_ = *std::move(view);
  return &found_;
}

WeightPtr WeightLoader::Pack(const std::string& name, const WeightSource& source) {
  absl::StatusOr<WeightPtr> weight = backend_->Pack(source);
  if (!weight.ok()) {
    problems_.push_back(absl::StrCat(name, ": ", weight.status().message()));
    if (!absl::IsInvalidArgument(weight.status())) failure_.Update(weight.status());
    return nullptr;
  }
  bytes_ += (*weight)->bytes();
  if (source.owner == checkpoint_ && !(*weight)->refers_to_source()) {
    checkpoint_->DontNeed(source.view);
  }
  return *std::move(weight);
}

WeightPtr WeightLoader::Matrix(const std::string& name, int64_t rows, int64_t cols,
                               const RowOrder& order, WeightRole role) {
  const TensorView* view = Find(name, Shape({rows, cols}));
  if (view == nullptr) return nullptr;
  if (order.empty()) return Pack(name, {*view, checkpoint_, role});
  CHECK_EQ(static_cast<int64_t>(order.size()), rows);
  const auto copy = NewTensor(view->dtype, view->shape);
  const int64_t row_bytes = RowBytes(view->dtype, cols);
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(copy->as<char>() + r * row_bytes, view->as<char>() + order[r] * row_bytes,
                row_bytes);
  }
  checkpoint_->DontNeed(*view);
  return Pack(name, {copy->view(), copy, role});
}

WeightPtr WeightLoader::RowsOf(const Fused& fused, int64_t first, int64_t count) {
  const TensorView* view = Find(fused.name, Shape({fused.rows, fused.cols}));
  if (view == nullptr) return nullptr;
  CHECK_LE(first + count, fused.rows);
  const char* const rows = view->as<char>() + first * RowBytes(view->dtype, fused.cols);
  return Pack(fused.name, {{rows, view->dtype, Shape({count, fused.cols})}, checkpoint_});
}

WeightPtr WeightLoader::MatrixOf(const std::string& name, const Shape& stack, int64_t index) {
  const TensorView* view = Find(name, stack);
  if (view == nullptr) return nullptr;
  CHECK_LT(index, stack[0]);
  const char* const matrix =
      view->as<char>() + index * stack[1] * RowBytes(view->dtype, stack.cols());
  return Pack(name, {{matrix, view->dtype, Shape({stack[1], stack[2]})}, checkpoint_});
}

WeightPtr WeightLoader::ColumnsOf(const std::string& name, const Shape& shape,
                                  const Columns& columns, const RowOrder& order) {
  const TensorView* view = Find(name, shape);
  if (view == nullptr) return nullptr;
  CHECK_LE(columns.first + columns.count, shape.cols());
  const bool plain = !IsBlockQuantized(view->dtype);
  const auto copy =
      NewTensor(plain ? view->dtype : DType::kF32, Shape({shape.rows(), columns.count}));
  const int64_t size = RowBytes(copy->dtype(), 1);
  std::vector<float> decoded(plain ? 0 : shape.cols());
  for (int64_t r = 0; r < shape.rows(); ++r) {
    const int64_t row = order.empty() ? r : order[r];
    if (!plain) ReadRow(*view, row, absl::MakeSpan(decoded));
    const char* const in = plain ? view->as<char>() + row * shape.cols() * size
                                 : reinterpret_cast<const char*>(decoded.data());
    std::memcpy(copy->as<char>() + r * columns.count * size, in + columns.first * size,
                columns.count * size);
  }
  return Pack(name, {copy->view(), copy});
}

WeightPtr WeightLoader::Norm(const std::string& name, int64_t n) {
  if (norm_offset_ == 0) return Vector(name, n);
  const TensorView* view = Find(name, Shape({n}));
  if (view == nullptr) return nullptr;
  std::vector<float> values(n);
  DequantizeRow(view->dtype, view->data, absl::MakeSpan(values));
  for (float& value : values) value += norm_offset_;
  return Vector(values, name);
}

WeightPtr WeightLoader::Vector(const std::string& name, int64_t n, const RowOrder& order) {
  const TensorView* view = Find(name, Shape({n}));
  if (view == nullptr) return nullptr;
  std::vector<float> stored(n);
  DequantizeRow(view->dtype, view->data, absl::MakeSpan(stored));
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = stored[order.empty() ? i : order[i]];
  return Vector(values, name);
}

WeightPtr WeightLoader::Vector(const std::vector<float>& values, absl::string_view what) {
  const auto copy = NewTensor(DType::kF32, Shape({static_cast<int64_t>(values.size())}));
  std::memcpy(copy->as<float>(), values.data(), values.size() * sizeof(float));
  return Pack(std::string(what), {copy->view(), copy, WeightRole::kVector});
}

WeightPtr WeightLoader::PackHeads(const std::string& name, const TensorView& view,
                                  const HeadRows& rows, const RowOrder& order) {
  const int64_t cols = view.shape.cols();
  const bool plain = !IsBlockQuantized(view.dtype);
  const DType dtype = plain ? view.dtype : DType::kF32;
  const Shape shape = rows.transposed ? Shape({rows.heads, cols, rows.count})
                                      : Shape({rows.heads, rows.count, cols});
  const auto copy = NewTensor(dtype, shape);
  const int64_t size = RowBytes(dtype, 1);
  std::vector<float> decoded(plain ? 0 : cols);
  for (int h = 0; h < rows.heads; ++h) {
    char* const out = copy->as<char>() + int64_t{h} * rows.count * cols * size;
    for (int i = 0; i < rows.count; ++i) {
      const int64_t stored = int64_t{h} * rows.group + rows.first + i;
      const int64_t row = order.empty() ? stored : order[stored];
      if (!plain) ReadRow(view, row, absl::MakeSpan(decoded));
      const char* const in = plain ? view.as<char>() + row * cols * size
                                   : reinterpret_cast<const char*>(decoded.data());
      if (!rows.transposed) {
        std::memcpy(out + i * cols * size, in, cols * size);
        continue;
      }
      for (int64_t c = 0; c < cols; ++c) {
        std::memcpy(out + (c * rows.count + i) * size, in + c * size, size);
      }
    }
  }
  return Pack(name, {copy->view(), copy, WeightRole::kPerHead});
}

WeightPtr WeightLoader::PerHead(const std::string& name, const HeadRows& rows, int64_t cols,
                                const RowOrder& order) {
  const TensorView* view = Find(name, Shape({int64_t{rows.heads} * rows.group, cols}));
  return view == nullptr ? nullptr : PackHeads(name, *view, rows, order);
}

WeightPtr WeightLoader::PerHead(const std::string& name, const Shape& stack, bool transposed) {
  const TensorView* view = Find(name, stack);
  if (view == nullptr) return nullptr;
  if (!IsBlockQuantized(view->dtype) && !transposed) {
    return Pack(name, {*view, checkpoint_, WeightRole::kPerHead});
  }
  const int heads = static_cast<int>(stack[0]), rows = static_cast<int>(stack[1]);
  const TensorView below{view->data, view->dtype, Shape({stack[0] * stack[1], stack[2]})};
  return PackHeads(name, below, {heads, rows, 0, rows, transposed}, {});
}

bool WeightLoader::IsIgnored(const TensorNames& names, int num_layers,
                             absl::string_view tensor) const {
  return std::any_of(names.ignored_prefixes.begin(), names.ignored_prefixes.end(),
                     [&](absl::string_view prefix) {
                       return absl::StartsWith(tensor, LayerName(prefix, num_layers));
                     });
}

absl::Status WeightLoader::Finish(const TensorNames& names, int num_layers) {
  absl::flat_hash_set<std::string> known = used_;
  for (const absl::string_view pattern : names.ignored) {
    if (!absl::StrContains(pattern, "$")) known.insert(std::string(pattern));
    for (int layer = 0; layer < num_layers; ++layer) known.insert(LayerName(pattern, layer));
  }
  for (const TensorInfo& tensor : checkpoint_->tensors()) {
    if (!known.contains(tensor.name) && !IsIgnored(names, num_layers, tensor.name)) {
      problems_.push_back(absl::StrCat("unexpected ", tensor.name, " ", tensor.shape.ToString()));
    }
  }
  return FinishPart();
}

absl::Status WeightLoader::FinishPart() {
  if (problems_.empty()) return absl::OkStatus();
  const size_t count = problems_.size();
  if (count > kMaxProblems) {
    problems_.resize(kMaxProblems);
    problems_.push_back(absl::StrCat("and ", count - kMaxProblems, " more"));
  }
  const std::string message =
      absl::StrCat(checkpoint_->path(),
                   ": weights do not fit the configuration: ", absl::StrJoin(problems_, "; "));
  return failure_.ok() ? absl::InvalidArgumentError(message)
                       : absl::Status(failure_.code(), message);
}

}  // namespace transmla
