#include "engine/base/file.h"

#include <filesystem>
#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/check.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FaultyFileSystem;
using ::testing::HasSubstr;
using testing::TempFolder;

FileSystem& Files() { return *PosixFileSystem(); }

TEST(FileTest, ReadsWhatWasWritten) {
  const TempFolder folder;
  const std::string path = folder.File("f");
  const std::string bytes("a\0b\n", 4);
  {
    auto file = Files().Create(path);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_TRUE((*file)->Append(bytes).ok());
    EXPECT_TRUE((*file)->Append("").ok());
    EXPECT_TRUE((*file)->Append("rest").ok());
    EXPECT_TRUE((*file)->SyncAndClose().ok());
  }
  EXPECT_EQ(*Files().Read(path, 8), bytes + "rest");
  EXPECT_EQ((*Files().Map(path))->bytes(), bytes + "rest");
  // Creating anew truncates.
  EXPECT_TRUE((*Files().Create(path))->SyncAndClose().ok());
  EXPECT_EQ(*Files().Read(path, 8), "");
}

TEST(FileTest, SizesAreLimited) {
  const TempFolder folder;
  const std::string path = folder.Write("f", std::string(200000, 'x'));
  EXPECT_EQ(Files().Read(path, 200000)->size(), 200000u);
  const absl::Status status = Files().Read(path, 199999).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr("199999")));
  // Files of the kernel report no size.
  EXPECT_GT(Files().Read("/proc/self/status", 1 << 20)->size(), 0u);
}

TEST(FileTest, ErrorsNameThePath) {
  const TempFolder folder;
  const std::string missing = folder.File("missing");
  EXPECT_EQ(Files().Read(missing, 10).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Files().Map(missing).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Files().List(missing).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Files().Create(missing + "/x").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Files().Rename(missing, missing + "2").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(Files().Read(missing, 10).status().message()), HasSubstr(missing));
  EXPECT_FALSE(Files().Read(folder.path(), 10).ok());
}

TEST(FileTest, TellsKindsApart) {
  const TempFolder folder;
  EXPECT_EQ(Files().Kind(folder.path()), PathKind::kFolder);
  EXPECT_EQ(Files().Kind(folder.Write("f", "")), PathKind::kFile);
  EXPECT_EQ(Files().Kind(folder.File("missing")), PathKind::kMissing);
  EXPECT_EQ(Files().Kind("/dev/null"), PathKind::kOther);
}

TEST(FileTest, ListsSorted) {
  const TempFolder folder;
  for (const char* name : {"b", "a", "c"}) folder.Write(name, "");
  EXPECT_THAT(*Files().List(folder.path()), ElementsAre("a", "b", "c"));
}

TEST(FileTest, FoldersComeWithParentsAndGoWithContents) {
  const TempFolder folder;
  const std::string deep = folder.File("x/y/z");
  EXPECT_TRUE(Files().CreateFolder(deep).ok());
  EXPECT_TRUE(Files().CreateFolder(deep).ok());
  std::filesystem::create_symlink(folder.Write("kept", "k"), deep + "/link");
  EXPECT_TRUE(Files().Remove(folder.File("x")).ok());
  EXPECT_TRUE(Files().Remove(folder.File("x")).ok());
  EXPECT_EQ(folder.Read("kept"), "k") << "a link was followed";
  EXPECT_EQ(folder.Count(), 1);
  EXPECT_GT(*Files().SpaceLeft(folder.path()), 0);
}

TEST(FileTest, AtomicWritesReplaceOrLeave) {
  const TempFolder folder;
  const std::string path = folder.File("f");
  EXPECT_TRUE(WriteFileAtomically(Files(), path, "old").ok());
  EXPECT_TRUE(WriteFileAtomically(Files(), path, "new contents").ok());
  EXPECT_EQ(folder.Read("f"), "new contents");
  EXPECT_EQ(folder.Count(), 1);
}

// Whichever step fails, the old contents stay and nothing lies beside them.
TEST(FileTest, FailedAtomicWritesLeaveNothingBehind) {
  int failures = 0;
  for (int n = 1;; ++n) {
    const TempFolder folder;
    const std::string path = folder.Write("f", "old");
    FaultyFileSystem faulty(n, absl::ResourceExhaustedError("disk full"), /*for_good=*/false);
    const absl::Status status = WriteFileAtomically(faulty, path, "new");
    EXPECT_EQ(folder.Count(), 1) << "step " << n;
    if (status.ok()) break;
    ++failures;
    EXPECT_EQ(folder.Read("f"), "old") << "step " << n;
  }
  EXPECT_EQ(failures, 4);  // create, append, sync, rename
}

TEST(PathTest, JoinsAndSplits) {
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(BaseName("a/b"), "b");
  EXPECT_EQ(BaseName("a/b//"), "b");
  EXPECT_EQ(BaseName("b"), "b");
  EXPECT_EQ(BaseName("/"), "/");
  EXPECT_EQ(ParentFolder("a/b"), "a");
  EXPECT_EQ(ParentFolder("a/b/"), "a");
  EXPECT_EQ(ParentFolder("b"), ".");
  EXPECT_EQ(ParentFolder("/b"), "/");
}

}  // namespace
}  // namespace transmla
