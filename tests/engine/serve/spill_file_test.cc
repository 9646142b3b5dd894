#include "engine/serve/spill_file.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

// Four pages of a few bytes.
class FakeStore : public KvStore {
 public:
  FakeStore() {
    layout_.num_layers = 1;
    layout_.first_dim = 1;
    layout_.second_dim = 1;
    for (auto& page : pages_) page.resize(layout_.BytesPerPage());
  }
  const KvLayout& layout() const override { return layout_; }
  int pages() const override { return 4; }
  absl::Status ReadPage(PageId page, absl::Span<std::byte> bytes) const override {
    std::copy(pages_[page].begin(), pages_[page].end(), bytes.begin());
    return absl::OkStatus();
  }
  absl::Status WritePage(PageId page, absl::Span<const std::byte> bytes) override {
    pages_[page].assign(bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  std::vector<std::byte>& page(int i) { return pages_[i]; }

 private:
  KvLayout layout_;
  std::vector<std::byte> pages_[4];
};

class SpillFileTest : public testing::Test {
 protected:
  void SetUp() override {
    auto spill =
        SpillFile::Create(testing::TempDir(), 3 * store_.layout().BytesPerPage() + 7, &store_);
    ASSERT_TRUE(spill.ok()) << spill.status();
    spill_ = *std::move(spill);
  }
  FakeStore store_;
  std::unique_ptr<SpillFile> spill_;
};

TEST_F(SpillFileTest, GivesPagesBackElsewhere) {
  EXPECT_EQ(spill_->slots(), 3);
  std::fill(store_.page(0).begin(), store_.page(0).end(), std::byte{1});
  std::fill(store_.page(1).begin(), store_.page(1).end(), std::byte{2});
  EXPECT_TRUE(spill_->Save(0, 2));
  EXPECT_TRUE(spill_->Save(1, 0));
  EXPECT_TRUE(spill_->Load(2, 3));
  EXPECT_EQ(store_.page(3), store_.page(0));
  EXPECT_TRUE(spill_->Load(0, 2));
  EXPECT_EQ(store_.page(2), store_.page(1));
  EXPECT_EQ(spill_->restored(), 2);
  EXPECT_EQ(spill_->failures(), 0);
}

TEST_F(SpillFileTest, WhatWasNeverWrittenIsAMiss) {
  EXPECT_FALSE(spill_->Load(1, 0));
  // A hole of the file, all zeros: read without an error, and not what was saved.
  EXPECT_TRUE(spill_->Save(0, 2));
  EXPECT_FALSE(spill_->Load(1, 0));
  EXPECT_EQ(spill_->failures(), 2);
}

TEST_F(SpillFileTest, NamesWhatDoesNotFit) {
  EXPECT_TRUE(absl::IsInvalidArgument(SpillFile::Create(testing::TempDir(), 10, &store_).status()));
  EXPECT_TRUE(absl::IsNotFound(SpillFile::Create("/no/such/folder", 1 << 20, &store_).status()));
}

}  // namespace
}  // namespace transmla
