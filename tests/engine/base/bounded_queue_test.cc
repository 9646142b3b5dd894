#include "engine/base/bounded_queue.h"

#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"

#include "engine/base/thread.h"

namespace transmla {
namespace {

constexpr absl::Duration kSoon = absl::Milliseconds(1);
constexpr absl::Duration kLong = absl::Seconds(60);  // ends early, or the test does

TEST(BoundedQueueTest, GivesBackInOrder) {
  BoundedQueue<int> queue(3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.TryPush(i));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.Pop(kSoon), i);
  EXPECT_EQ(queue.Pop(kSoon), std::nullopt);
}

TEST(BoundedQueueTest, HoldsNoMoreThanItsCapacity) {
  BoundedQueue<std::unique_ptr<int>> queue(2);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(1)));
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(2)));
  EXPECT_FALSE(queue.TryPush(std::make_unique<int>(3)));
  EXPECT_EQ(queue.size(), 2u);
  EXPECT_EQ(**queue.Pop(kSoon), 1);
  EXPECT_TRUE(queue.TryPush(std::make_unique<int>(4)));
  EXPECT_EQ(**queue.Pop(kSoon), 2);
  EXPECT_EQ(**queue.Pop(kSoon), 4);
}

TEST(BoundedQueueTest, AClosedQueueCanBeEmptied) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_FALSE(queue.closed());
  queue.Close();
  EXPECT_TRUE(queue.closed());
  EXPECT_FALSE(queue.TryPush(2));
  EXPECT_EQ(queue.Pop(kLong), 1);
  EXPECT_EQ(queue.Pop(kLong), std::nullopt);
}

TEST(BoundedQueueTest, ClosingWakesThoseWhoWait) {
  BoundedQueue<int> queue(1);
  Thread closer("closer", [&] { queue.Close(); });
  EXPECT_EQ(queue.Pop(kLong), std::nullopt);
}

TEST(BoundedQueueTest, ManyThreadsLoseAndDoubleNothing) {
  constexpr int kThreads = 3;
  constexpr int kEach = 500;
  BoundedQueue<int> queue(7);
  std::vector<int> popped[kThreads];
  {
    std::vector<Thread> consumers;
    std::vector<Thread> producers;
    for (int c = 0; c < kThreads; ++c) {
      consumers.emplace_back("consumer", [&queue, &mine = popped[c]] {
        while (const std::optional<int> value = queue.Pop(kLong)) mine.push_back(*value);
      });
    }
    for (int p = 0; p < kThreads; ++p) {
      producers.emplace_back("producer", [&queue, p] {
        for (int i = 0; i < kEach; ++i) {
          while (!queue.TryPush(p * kEach + i)) {
          }
        }
      });
    }
    for (Thread& producer : producers) producer.Join();
    queue.Close();
  }
  std::set<int> all;
  size_t count = 0;
  for (const std::vector<int>& mine : popped) {
    all.insert(mine.begin(), mine.end());
    count += mine.size();
    // What one producer pushed, one consumer sees in order.
    int last[kThreads] = {-1, -1, -1};
    for (const int value : mine) {
      EXPECT_GT(value, last[value / kEach]);
      last[value / kEach] = value;
    }
  }
  EXPECT_EQ(count, size_t{kThreads * kEach});
  EXPECT_EQ(all.size(), size_t{kThreads * kEach});
}

}  // namespace
}  // namespace transmla
