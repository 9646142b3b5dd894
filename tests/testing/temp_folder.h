// TempFolder: an empty folder that disappears with its test.
#ifndef TRANSMLA_TESTS_TESTING_TEMP_FOLDER_H_
#define TRANSMLA_TESTS_TESTING_TEMP_FOLDER_H_

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace transmla::testing {

class TempFolder {
 public:
  TempFolder() {
    static int count = 0;
    path_ = absl::StrCat(::testing::TempDir(), "transmla_", getpid(), "_", ++count);
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string File(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

  // Writes `contents` to a file of the folder and returns its path.
  std::string Write(absl::string_view name, absl::string_view contents) const {
    std::ofstream(File(name), std::ios::binary) << contents;
    return File(name);
  }
  std::string Read(absl::string_view name) const {
    std::ifstream file(File(name), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  int Count() const {
    return static_cast<int>(std::distance(std::filesystem::directory_iterator(path_),
                                          std::filesystem::directory_iterator()));
  }

 private:
  std::string path_;
};

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_TESTING_TEMP_FOLDER_H_
