#include "engine/backend/cpu/arena.h"

#include <cerrno>
#include <cstring>

#include <sys/mman.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "engine/base/check.h"

namespace transmla::cpu {

absl::StatusOr<Arena> Arena::Create(int64_t bytes, bool huge_pages) {
  CHECK_GT(bytes, 0);
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot reserve ", bytes, " bytes of memory: ", std::strerror(errno)));
  }
  // Advice only: fewer address translations.
  if (huge_pages) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  Arena arena;
  arena.data_ = static_cast<std::byte*>(data);
  arena.size_ = bytes;
  return arena;
}

Arena::~Arena() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(size_));
}

}  // namespace transmla::cpu
