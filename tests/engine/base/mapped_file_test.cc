#include "engine/base/mapped_file.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::TempFolder;

constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

TEST(MappedFileTest, SlicesLieInside) {
  const TempFolder folder;
  const auto file = MappedFile::Open(folder.Write("f", "0123456789"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size(), 10);
  EXPECT_EQ((*file)->bytes(), "0123456789");
  EXPECT_EQ(*(*file)->Slice(0, 10), "0123456789");
  EXPECT_EQ(*(*file)->Slice(3, 4), "3456");
  EXPECT_EQ(*(*file)->Slice(10, 0), "");
}

TEST(MappedFileTest, SlicesBeyondAreErrors) {
  const TempFolder folder;
  const std::string path = folder.Write("f", "0123456789");
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  const std::pair<int64_t, int64_t> bad[] = {{0, 11}, {10, 1},        {11, 0},    {-1, 2},
                                             {2, -1}, {kMost, kMost}, {1, kMost}, {kMost, 1}};
  for (const auto& [offset, length] : bad) {
    const absl::Status status = (*file)->Slice(offset, length).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << offset << " " << length;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr("10 bytes")));
  }
}

TEST(MappedFileTest, AdviceIsNeverAnError) {
  const TempFolder folder;
  const auto file = MappedFile::Open(folder.Write("f", std::string(10000, 'x')));
  ASSERT_TRUE(file.ok());
  for (const auto access : {MappedFile::Access::kSequential, MappedFile::Access::kRandom,
                            MappedFile::Access::kWillNeed, MappedFile::Access::kDontNeed}) {
    (*file)->Advise(0, 10000, access);
    (*file)->Advise(5000, kMost, access);
    (*file)->Advise(-5, -5, access);
    (*file)->Advise(kMost, kMost, access);
  }
  EXPECT_EQ((*file)->bytes(), std::string(10000, 'x'));
}

TEST(MappedFileTest, EmptyFilesHaveNoBytes) {
  const TempFolder folder;
  const auto file = MappedFile::Open(folder.Write("f", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ((*file)->size(), 0);
  EXPECT_EQ(*(*file)->Slice(0, 0), "");
  EXPECT_FALSE((*file)->Slice(0, 1).ok());
}

TEST(MappedFileTest, OnlyRegularFiles) {
  const TempFolder folder;
  EXPECT_EQ(MappedFile::Open(folder.File("missing")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(MappedFile::Open(folder.path()).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::Open("/dev/zero").status().code(), absl::StatusCode::kInvalidArgument);
}

// A model that is replaced by rename stays readable for those who hold it.
TEST(MappedFileTest, ReplacedFilesStayMapped) {
  const TempFolder folder;
  const auto file = MappedFile::Open(folder.Write("f", "old"));
  ASSERT_TRUE(file.ok());
  std::filesystem::rename(folder.Write("g", "new"), folder.File("f"));
  EXPECT_EQ((*file)->bytes(), "old");
}

}  // namespace
}  // namespace transmla
