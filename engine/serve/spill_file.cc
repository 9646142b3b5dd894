#include "engine/serve/spill_file.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "engine/base/status.h"

namespace transmla {
namespace {

uint64_t ChecksumOf(const std::vector<std::byte>& bytes) {
  return absl::HashOf(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SpillFile>> SpillFile::Create(const std::string& folder,
                                                             int64_t bytes, KvStore* store) {
  const int64_t page_bytes = store->layout().BytesPerPage();
  // Pages and slots together are numbers of places.
  const int64_t slots = std::min<int64_t>(bytes / page_bytes,
                                          std::numeric_limits<int32_t>::max() / 2 - store->pages());
  if (slots < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a spill file of ", bytes, " bytes does not hold one page of ", page_bytes, " bytes"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<ScratchFile> file, ScratchFile::Create(folder));
  auto spill =
      std::unique_ptr<SpillFile>(new SpillFile(std::move(file), static_cast<int>(slots), store));
  RETURN_IF_ERROR(store->ReadPage(0, absl::MakeSpan(spill->buffer_)));
  return spill;
}

SpillFile::SpillFile(std::unique_ptr<ScratchFile> file, int slots, KvStore* store)
    : file_(std::move(file)),
      store_(store),
      checksums_(static_cast<size_t>(slots)),
      buffer_(static_cast<size_t>(store->layout().BytesPerPage())) {}

bool SpillFile::Save(PageId page, int slot) {
  const int64_t offset = slot * static_cast<int64_t>(buffer_.size());
  const bool saved =
      store_->ReadPage(page, absl::MakeSpan(buffer_)).ok() && file_->Write(offset, buffer_).ok();
  if (saved) {
    checksums_[slot] = ChecksumOf(buffer_);
  } else {
    ++failures_;
  }
  return saved;
}

bool SpillFile::Load(int slot, PageId page) {
  const int64_t offset = slot * static_cast<int64_t>(buffer_.size());
  const bool loaded = file_->Read(offset, absl::MakeSpan(buffer_)).ok() &&
                      ChecksumOf(buffer_) == checksums_[slot] &&
                      store_->WritePage(page, buffer_).ok();
  ++(loaded ? restored_ : failures_);
  return loaded;
}

}  // namespace transmla
