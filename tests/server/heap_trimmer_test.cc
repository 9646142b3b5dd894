#include "server/heap_trimmer.h"

#include <memory>
#include <vector>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

#include "server/process_stats.h"

namespace transmla {
namespace {

TEST(HeapTrimmerTest, WhatIsFreedBetweenPiecesInUseGoesBack) {
  constexpr int kPieces = 64 << 10, kPieceBytes = 1 << 10;
  std::vector<std::unique_ptr<char[]>> pieces;
  for (int i = 0; i < kPieces; ++i) pieces.push_back(std::make_unique<char[]>(kPieceBytes));
  // One of 64 stays, the last one too, so that no end of the heap is free.
  for (int i = 0; i < kPieces - 1; ++i)
    if (i % 64 != 0) pieces[i].reset();
  constexpr int64_t kFreed = int64_t{kPieces} * kPieceBytes;
  const int64_t before = ReadProcessStats().resident_bytes;

  const HeapTrimmer trimmer(absl::Milliseconds(10));
  // Half of it: what lies on pages with a piece in use stays.
  while (ReadProcessStats().resident_bytes > before - kFreed / 2)
    absl::SleepFor(absl::Milliseconds(1));
}

}  // namespace
}  // namespace transmla
