#include "engine/backend/cpu/panel_memory.h"

#include <cstring>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

#include "engine/backend/cpu/huge_pages.h"
#include "tests/engine/backend/backend_fixture.h"

namespace transmla::cpu {
namespace {

std::shared_ptr<std::byte> Take(PanelMemory& memory, int64_t bytes) {
  auto data = memory.Take(bytes);
  CHECK_OK(data.status());
  return *std::move(data);
}

TEST(PanelMemoryTest, PartsAreAlignedZeroAndApart) {
  PanelMemory memory;
  const auto a = Take(memory, 100);
  const auto b = Take(memory, 1);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a.get()) % 64, 0u);
  EXPECT_EQ(b.get() - a.get(), 128);
  std::memset(a.get(), 1, 100);
  EXPECT_EQ(*b, std::byte{0});
}

TEST(PanelMemoryTest, WhatDoesNotFitOpensAnotherArena) {
  PanelMemory memory;
  const auto small = Take(memory, 64);
  const int64_t size = memory.Taken()[0].arena->size();
  const auto large = Take(memory, size + 1);
  std::memset(large.get() + size, 1, 1);
  ASSERT_EQ(memory.Taken().size(), 2u);
  EXPECT_GE(memory.Taken()[1].arena->size(), size + 1);
}

TEST(PanelMemoryTest, ArenasGoWithTheirLastPart) {
  auto memory = std::make_optional<PanelMemory>();
  auto a = Take(*memory, 64);
  const std::weak_ptr<Arena> arena = memory->Taken()[0].arena;
  memory.reset();
  *a = std::byte{7};
  EXPECT_FALSE(arena.expired());
  a.reset();
  EXPECT_TRUE(arena.expired());
}

// Whatever the system does with its pages, and whenever the mover is stopped.
TEST(HugePageMoverTest, KeepsTheBytes) {
  PanelMemory memory;
  const int64_t bytes = int64_t{9} << 20;
  const auto data = Take(memory, bytes);
  Random random(1);
  std::vector<uint8_t> values(bytes);
  for (uint8_t& value : values) value = static_cast<uint8_t>(random());
  std::memcpy(data.get(), values.data(), bytes);
  for (const bool wait : {false, true}) {
    HugePageMover mover;
    mover.Start(memory.Taken());
    mover.Start(memory.Taken());
    if (wait) absl::SleepFor(absl::Milliseconds(1100));
    EXPECT_EQ(std::memcmp(data.get(), values.data(), bytes), 0);
  }
  EXPECT_EQ(std::memcmp(data.get(), values.data(), bytes), 0);
}

}  // namespace
}  // namespace transmla::cpu
