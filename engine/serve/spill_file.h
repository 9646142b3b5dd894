// SpillFile keeps cache pages that were handed out again in a file of bounded size.
//
// The checksums stay in memory: what the disk gives back is either what was written or a miss.
#ifndef TRANSMLA_ENGINE_SERVE_SPILL_FILE_H_
#define TRANSMLA_ENGINE_SERVE_SPILL_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/backend/kv_store.h"
#include "engine/base/scratch_file.h"
#include "engine/cache/page_store.h"

namespace transmla {

// Thread-compatible: the engine's thread. Saving and loading block as long as the disk does, a page
// each; the system's file cache makes that a copy in memory as a rule.
class SpillFile : public PageStore {
 public:
  // In `folder`, of at most `bytes`. `store` must outlive it. InvalidArgument if that is not one
  // page; the error of the folder; Unimplemented for a backend whose pages cannot be read.
  static absl::StatusOr<std::unique_ptr<SpillFile>> Create(const std::string& folder, int64_t bytes,
                                                           KvStore* store);

  int slots() const override { return static_cast<int>(checksums_.size()); }
  bool Save(PageId page, int slot) override;
  bool Load(int slot, PageId page) override;

  // Pages that came back, and those that could not be saved, or did not come back as they were.
  int64_t restored() const { return restored_; }
  int64_t failures() const { return failures_; }

 private:
  SpillFile(std::unique_ptr<ScratchFile> file, int slots, KvStore* store);

  const std::unique_ptr<ScratchFile> file_;
  KvStore* const store_;
  std::vector<uint64_t> checksums_;  // by slot
  std::vector<std::byte> buffer_;    // a page
  int64_t restored_ = 0;
  int64_t failures_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_SPILL_FILE_H_
