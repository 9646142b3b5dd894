// The tensors of a safetensors file of tests/golden.
#ifndef TRANSMLA_TESTS_TESTING_GOLDEN_TENSORS_H_
#define TRANSMLA_TESTS_TESTING_GOLDEN_TENSORS_H_

#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/check.h"
#include "engine/base/file.h"
#include "engine/format/safetensors_header.h"

namespace transmla::testing {

class GoldenTensors {
 public:
  // Aborts if the file is missing or broken.
  explicit GoldenTensors(const std::string& path) {
    absl::StatusOr<std::string> file = PosixFileSystem()->Read(path, 64 << 20);
    CHECK_OK(file.status());
    const absl::StatusOr<std::vector<SafetensorsEntry>> entries =
        ParseSafetensorsHeader(path, *file);
    CHECK_OK(entries.status());
    for (const SafetensorsEntry& entry : *entries) entries_.emplace(entry.info.name, entry);
    file_ = *std::move(file);
  }

  bool Has(const std::string& name) const { return entries_.count(name) != 0; }
  // A copy of the tensor's elements. REQUIRES: it exists and T has its elements' size.
  template <typename T>
  std::vector<T> Get(const std::string& name) const {
    const auto it = entries_.find(name);
    CHECK(it != entries_.end());
    CHECK_EQ(RowBytes(it->second.info.dtype, 1), static_cast<int64_t>(sizeof(T)));
    std::vector<T> values(it->second.bytes / sizeof(T));
    std::memcpy(values.data(), file_.data() + it->second.offset, it->second.bytes);
    return values;
  }

 private:
  std::string file_;
  std::map<std::string, SafetensorsEntry> entries_;
};

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_TESTING_GOLDEN_TENSORS_H_
