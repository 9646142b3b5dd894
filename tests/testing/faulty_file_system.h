// FaultyFileSystem: real files, of which the n-th change fails as on a full or read-only disk.
// Nothing is made durable: a test runs through hundreds of changes.
#ifndef TRANSMLA_TESTS_TESTING_FAULTY_FILE_SYSTEM_H_
#define TRANSMLA_TESTS_TESTING_FAULTY_FILE_SYSTEM_H_

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/file.h"

namespace transmla::testing {

// Counts what creates, appends, syncs, renames and makes folders. Removing never fails: a disk that
// is full still gives space back.
class FaultyFileSystem : public FileSystem {
 public:
  // The `failing`-th change (from 1) returns `error`, and so does every later one if `for_good`.
  FaultyFileSystem(int failing, absl::Status error, bool for_good)
      : failing_(failing), error_(std::move(error)), for_good_(for_good) {}

  // Changes asked for so far.
  int changes() const { return changes_; }

  absl::Status Change(absl::string_view what) {
    ++changes_;
    if (changes_ == failing_ || (for_good_ && changes_ > failing_))
      return absl::Status(error_.code(), absl::StrCat(what, ": ", error_.message()));
    return absl::OkStatus();
  }

  PathKind Kind(const std::string& path) override { return real_->Kind(path); }
  absl::StatusOr<std::string> Read(const std::string& path, int64_t max_bytes) override {
    return real_->Read(path, max_bytes);
  }
  absl::StatusOr<std::shared_ptr<const MappedFile>> Map(const std::string& path) override {
    return real_->Map(path);
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& folder) override {
    return real_->List(folder);
  }
  absl::StatusOr<int64_t> SpaceLeft(const std::string& path) override {
    return real_->SpaceLeft(path);
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(const std::string& path) override;
  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (const absl::Status status = Change(from); !status.ok()) return status;
    std::error_code error;
    std::filesystem::rename(from, to, error);
    return error ? absl::InternalError(absl::StrCat(from, ": ", error.message()))
                 : absl::OkStatus();
  }
  absl::Status CreateFolder(const std::string& path) override {
    const absl::Status status = Change(path);
    return status.ok() ? real_->CreateFolder(path) : status;
  }
  absl::Status Remove(const std::string& path) override {
    // A process that is dead changes nothing any more.
    return kills_ && changes_ >= failing_ ? error_ : real_->Remove(path);
  }
  // From the failing change on it is as if the process had been killed there.
  void Kill() { kills_ = for_good_ = true; }

 private:
  FileSystem* const real_ = PosixFileSystem();
  const int failing_;
  const absl::Status error_;
  bool for_good_;
  bool kills_ = false;
  int changes_ = 0;
};

class FaultyFile : public WritableFile {
 public:
  FaultyFile(FaultyFileSystem& files, std::string path, std::unique_ptr<WritableFile> real)
      : files_(files), path_(std::move(path)), real_(std::move(real)) {}
  // A failing write has written a part.
  absl::Status Append(absl::string_view bytes) override {
    const absl::Status status = files_.Change(path_);
    const absl::Status written =
        real_->Append(status.ok() ? bytes : bytes.substr(bytes.size() / 2));
    return status.ok() ? written : status;
  }
  absl::Status SyncAndClose() override {
    const absl::Status status = files_.Change(path_);
    real_.reset();
    return status;
  }

 private:
  FaultyFileSystem& files_;
  const std::string path_;
  std::unique_ptr<WritableFile> real_;
};

inline absl::StatusOr<std::unique_ptr<WritableFile>> FaultyFileSystem::Create(
    const std::string& path) {
  if (const absl::Status status = Change(path); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<WritableFile>> real = real_->Create(path);
  if (!real.ok()) return real.status();
  return std::make_unique<FaultyFile>(*this, path, *std::move(real));
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_TESTING_FAULTY_FILE_SYSTEM_H_
