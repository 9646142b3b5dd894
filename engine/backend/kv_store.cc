#include "engine/backend/kv_store.h"

#include "engine/base/check.h"
#include "engine/base/checked_math.h"

namespace transmla {
namespace {

constexpr DType kCacheDTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kI8};

}  // namespace

absl::string_view CacheDTypeName(DType dtype) {
  return dtype == DType::kI8 ? "int8" : DTypeName(dtype);
}

std::optional<DType> ParseCacheDType(absl::string_view name) {
  for (const DType dtype : kCacheDTypes) {
    if (CacheDTypeName(dtype) == name) return dtype;
  }
  return std::nullopt;
}

int64_t CacheRowBytes(DType dtype, int64_t values, int group) {
  const int64_t bytes = RowBytes(dtype, values);
  if (dtype != DType::kI8) return bytes;
  CHECK_GE(group, 1);
  return bytes + CeilDiv<int64_t>(values, group) * static_cast<int64_t>(sizeof(float));
}

int64_t KvLayout::BytesPerToken() const {
  return (CacheRowBytes(dtype, first_dim, group) +
          CacheRowBytes(second_dtype(), second_dim, group)) *
         num_layers;
}

absl::Status KvStore::ReadPage(PageId, absl::Span<std::byte>) const {
  return absl::UnimplementedError("this backend's cache pages cannot be copied out");
}

absl::Status KvStore::WritePage(PageId, absl::Span<const std::byte>) {
  return absl::UnimplementedError("this backend's cache pages cannot be copied in");
}

}  // namespace transmla
