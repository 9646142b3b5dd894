#include "engine/base/scratch_file.h"

#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

std::vector<std::byte> Bytes(const std::string& text) {
  const auto* begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

TEST(ScratchFileTest, GivesBackWhatWasWrittenAndLeavesNoName) {
  const std::string folder = testing::TempDir() + "/scratch";
  std::filesystem::create_directory(folder);
  const auto file = ScratchFile::Create(folder);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  ASSERT_TRUE((*file)->Write(1000, Bytes("later")).ok());
  ASSERT_TRUE((*file)->Write(0, Bytes("first")).ok());
  std::vector<std::byte> read(5);
  ASSERT_TRUE((*file)->Read(1000, absl::MakeSpan(read)).ok());
  EXPECT_EQ(read, Bytes("later"));
  ASSERT_TRUE((*file)->Read(0, absl::MakeSpan(read)).ok());
  EXPECT_EQ(read, Bytes("first"));
  EXPECT_TRUE(absl::IsOutOfRange((*file)->Read(1001, absl::MakeSpan(read))));
}

TEST(ScratchFileTest, NamesAFolderThatIsNot) {
  const absl::Status status = ScratchFile::Create("/no/such/folder").status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_THAT(status.message(), testing::HasSubstr("/no/such/folder"));
}

}  // namespace
}  // namespace transmla
