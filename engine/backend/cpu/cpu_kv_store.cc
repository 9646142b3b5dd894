#include "engine/backend/cpu/cpu_kv_store.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/checked_math.h"
#include "engine/base/cpu_info.h"
#include "engine/base/status.h"
#include "engine/tensor/float_types.h"
#include "engine/tensor/int8_group.h"

namespace transmla::cpu {

absl::StatusOr<std::unique_ptr<CpuKvStore>> CpuKvStore::Create(const KvLayout& layout, int pages) {
  const std::optional<int64_t> bytes = CheckedMul(layout.BytesPerPage(), int64_t{pages});
  const int64_t memory = GetCpuInfo().memory_bytes;
  if (!bytes.has_value() || (memory > 0 && *bytes > memory)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a cache of ", pages, " pages of ", layout.BytesPerPage(), " bytes each does not fit the ",
        memory, " bytes of this machine; ask for fewer pages"));
  }
  ASSIGN_OR_RETURN(Arena arena, Arena::Create(*bytes));
  return std::unique_ptr<CpuKvStore>(new CpuKvStore(layout, pages, std::move(arena)));
}

CpuKvStore::CpuKvStore(const KvLayout& layout, int pages, Arena arena)
    : layout_(layout), pages_(pages), arena_(std::move(arena)) {
  const bool mla = layout.attention == AttentionKind::kMla;
  const CacheRows first{.dtype = layout.dtype, .dim = layout.first_dim, .group = layout.group};
  const CacheRows second{
      .dtype = layout.second_dtype(), .dim = layout.second_dim, .group = layout.group};
  keys_ = {first};
  if (!mla) {
    values_ = second;
  } else if (first.dtype == second.dtype) {
    keys_[0].dim += second.dim;
  } else {
    keys_.push_back(second);
  }

  const auto take = [this](int64_t token_bytes) {
    const int64_t offset = layer_bytes_;
    layer_bytes_ += kPageTokens * token_bytes;
    return offset;
  };
  for (CacheRows& rows : keys_) rows.offset = take(rows.row_bytes());
  values_.offset = take(values_.row_bytes());
  for (CacheRows* rows : {&keys_[0], &values_}) {
    if (rows->dtype != DType::kI8) continue;
    rows->scales_offset = take(rows->groups() * static_cast<int64_t>(sizeof(float)));
  }
  CHECK_EQ(layer_bytes_ * layout.num_layers, layout.BytesPerPage());
}

absl::Status CpuKvStore::ReadPage(PageId page, absl::Span<std::byte> bytes) const {
  CHECK_EQ(static_cast<int64_t>(bytes.size()), layout_.BytesPerPage());
  std::memcpy(bytes.data(), At(page, 0), bytes.size());
  return absl::OkStatus();
}

absl::Status CpuKvStore::WritePage(PageId page, absl::Span<const std::byte> bytes) {
  CHECK_EQ(static_cast<int64_t>(bytes.size()), layout_.BytesPerPage());
  std::memcpy(At(page, 0), bytes.data(), bytes.size());
  return absl::OkStatus();
}

void StoreRow(const CacheRows& rows, const float* values, std::byte* page, int slot) {
  std::byte* at = page + rows.offset + slot * rows.row_bytes();
  if (rows.dtype == DType::kF32) {
    std::memcpy(at, values, static_cast<size_t>(rows.row_bytes()));
  } else if (rows.dtype == DType::kI8) {
    int8_t* out = reinterpret_cast<int8_t*>(at);
    float* scales = reinterpret_cast<float*>(page + rows.scales_offset) + slot * rows.groups();
    for (int64_t i = 0; i < rows.dim; i += rows.group) {
      *scales++ =
          QuantizeInt8Group(values + i, std::min<int64_t>(rows.group, rows.dim - i), out + i);
    }
  } else {
    uint16_t* out = reinterpret_cast<uint16_t*>(at);
    if (rows.dtype == DType::kBF16) {
      for (int64_t i = 0; i < rows.dim; ++i) out[i] = FloatToBf16(values[i]);
    } else {
      for (int64_t i = 0; i < rows.dim; ++i) out[i] = FloatToF16(values[i]);
    }
  }
}

}  // namespace transmla::cpu
