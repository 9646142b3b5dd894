#include "engine/backend/cpu/cpu_kv_store.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "engine/base/checked_math.h"
#include "engine/base/cpu_info.h"
#include "engine/base/status.h"

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

}  // namespace transmla::cpu
