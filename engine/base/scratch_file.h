// ScratchFile: space on a disk for one process, which is gone with it, whatever way the process
// ends.
#ifndef TRANSMLA_ENGINE_BASE_SCRATCH_FILE_H_
#define TRANSMLA_ENGINE_BASE_SCRATCH_FILE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace transmla {

// Thread-compatible. Blocks as long as the disk does.
class ScratchFile {
 public:
  // In `folder`, which must exist; the file has no name there.
  static absl::StatusOr<std::unique_ptr<ScratchFile>> Create(const std::string& folder);
  ~ScratchFile();

  // ResourceExhausted if the disk is full.
  absl::Status Write(int64_t offset, absl::Span<const std::byte> bytes);
  // OutOfRange if so much was not written there.
  absl::Status Read(int64_t offset, absl::Span<std::byte> bytes) const;

 private:
  explicit ScratchFile(int descriptor) : descriptor_(descriptor) {}
  const int descriptor_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_SCRATCH_FILE_H_
