#include "server/stream_writer.h"

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gtest/gtest.h>

#include "engine/base/error_reason.h"
#include "engine/base/random.h"
#include "engine/base/thread.h"
#include "server/limits.h"

namespace transmla {
namespace {

// Keeps what is written; the test says when a write is done.
class FakeTransport : public StreamTransport {
 public:
  bool Write(const v1::GenerateResponse& message) override {
    EXPECT_EQ(closes, 0) << "write after close";
    EXPECT_FALSE(writing.exchange(true)) << "two writes at a time";
    messages.push_back(message);
    return false;
  }
  void Close(const absl::Status& status) override {
    EXPECT_FALSE(writing) << "close during a write";
    ++closes;
    end = status;
  }
  void BreakWrite() override { ++breaks; }

  // Ends the present write; false if there is none.
  bool Complete(StreamWriter* writer, bool ok = true) {
    if (!writing.exchange(false)) return false;
    writer->OnWriteDone(ok);
    return true;
  }

  std::vector<v1::GenerateResponse> messages;
  std::atomic<bool> writing{false};
  std::atomic<int> closes{0};
  std::atomic<int> breaks{0};
  absl::Status end;
};

TokenEvent Text(const std::string& text, int completion_tokens) {
  TokenEvent event;
  event.text = text;
  event.usage.completion_tokens = completion_tokens;
  return event;
}

v1::Accepted AcceptedFor(const char* id) {
  v1::Accepted accepted;
  accepted.set_request_id(id);
  accepted.set_prompt_tokens(3);
  return accepted;
}

TEST(StreamWriterTest, WritesAcceptedThenChunksThenFinishedThenOk) {
  FakeTransport transport;
  StreamWriter writer({}, &transport);
  writer.OnTokens(0, Text("early", 1));
  EXPECT_TRUE(transport.messages.empty()) << "nothing before Accept";
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [] {}));
  writer.OnFinished(0, v1::Finished(), {3, 0, 1});
  while (transport.Complete(&writer)) {
  }
  ASSERT_EQ(transport.messages.size(), 3u);
  EXPECT_EQ(transport.messages[0].accepted().request_id(), "r");
  EXPECT_EQ(transport.messages[1].chunk().text(), "early");
  EXPECT_EQ(transport.messages[1].usage().prompt_tokens(), 3u);
  EXPECT_TRUE(transport.messages[2].has_finished());
  EXPECT_EQ(transport.closes, 1);
  EXPECT_TRUE(transport.end.ok());
}

TEST(StreamWriterTest, AnEngineThatEndsBeforeAcceptLeavesNothingHeld) {
  FakeTransport transport;
  StreamWriter writer({}, &transport);
  writer.OnFinished(0, v1::Finished(), {3, 0, 1});
  auto held = std::make_shared<int>(0);
  const std::weak_ptr<int> watched = held;
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [held = std::move(held)] {}));
  EXPECT_TRUE(watched.expired());
  while (transport.Complete(&writer)) {
  }
  EXPECT_TRUE(transport.end.ok());
}

TEST(StreamWriterTest, SlowReaderGetsOneLongChunk) {
  FakeTransport transport;
  StreamWriter writer({}, &transport);
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [] {}));
  for (int i = 0; i < 100; ++i) writer.OnTokens(0, Text("ab", i + 1));
  EXPECT_EQ(writer.backlog_bytes(), 200u);
  transport.Complete(&writer);
  ASSERT_EQ(transport.messages.size(), 2u);
  EXPECT_EQ(transport.messages[1].chunk().text().size(), 200u);
  EXPECT_EQ(transport.messages[1].usage().completion_tokens(), 100u);
  EXPECT_EQ(writer.backlog_bytes(), 0u);
}

TEST(StreamWriterTest, BacklogIsBounded) {
  FakeTransport transport;
  StreamWriter writer({}, &transport);
  int cancels = 0;
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [&] { ++cancels; }));
  const std::string kilobyte(1024, 'x');
  for (size_t i = 0; i <= kMaxBacklogBytes / 1024 + 10; ++i) {
    writer.OnTokens(0, Text(kilobyte, 1));
    EXPECT_LE(writer.backlog_bytes(), kMaxBacklogBytes + 1024);
  }
  EXPECT_EQ(cancels, 1);
  EXPECT_EQ(transport.closes, 0) << "a write is under way";
  transport.Complete(&writer);
  EXPECT_EQ(transport.closes, 1);
  EXPECT_EQ(ErrorReason(transport.end), "SLOW_CONSUMER");
}

// With several sequences there may always be a chunk that waits; only what waits counts.
TEST(StreamWriterTest, BacklogForgetsWhatIsWritten) {
  FakeTransport transport;
  StreamWriter writer({4, {}, SystemClock()}, &transport);
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [] {}));
  const std::string kilobyte(1024, 'x');
  size_t written = 0;
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < 4; ++i) writer.OnTokens(i, Text(kilobyte, round));
    while (writer.backlog_bytes() > 2 * kilobyte.size()) transport.Complete(&writer);
  }
  for (const auto& message : transport.messages) written += message.chunk().text().size();
  EXPECT_GT(written, 3 * kMaxBacklogBytes);
  EXPECT_EQ(transport.closes, 0) << transport.end;
}

TEST(StreamWriterTest, StalledWriteIsBroken) {
  FakeClock clock;
  FakeTransport transport;
  StreamWriter writer({1, {}, &clock}, &transport);
  int cancels = 0;
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [&] { ++cancels; }));
  EXPECT_FALSE(writer.EndIfStalled(absl::Seconds(30)));
  clock.Advance(absl::Seconds(31));
  EXPECT_TRUE(writer.EndIfStalled(absl::Seconds(30)));
  EXPECT_FALSE(writer.EndIfStalled(absl::Seconds(30))) << "counted once";
  EXPECT_EQ(transport.breaks, 1);
  EXPECT_EQ(cancels, 1);
  transport.Complete(&writer, false);
  EXPECT_EQ(transport.closes, 1);
  EXPECT_EQ(transport.end.code(), absl::StatusCode::kResourceExhausted);
}

// Whoever does not read at all does not end the write that is under way either.
TEST(StreamWriterTest, AnEndedStreamDoesNotWaitForItsReader) {
  FakeClock clock;
  FakeTransport transport;
  StreamWriter writer({1, {}, &clock}, &transport);
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [] {}));
  writer.OnTokens(0, Text(std::string(kMaxBacklogBytes + 1, 'x'), 1));
  EXPECT_EQ(writer.backlog_bytes(), 0u) << "given up, so nothing waits";
  EXPECT_FALSE(writer.finished());
  clock.Advance(absl::Seconds(31));
  EXPECT_TRUE(writer.EndIfStalled(absl::Seconds(30)));
  EXPECT_EQ(transport.breaks, 1);
  transport.Complete(&writer, false);
  EXPECT_TRUE(writer.finished());
  EXPECT_EQ(ErrorReason(transport.end), "SLOW_CONSUMER");
}

TEST(StreamWriterTest, RefusalWritesNothing) {
  FakeTransport transport;
  StreamWriter writer({}, &transport);
  writer.End(absl::ResourceExhaustedError("full"));
  EXPECT_TRUE(transport.messages.empty());
  EXPECT_EQ(transport.closes, 1);
  EXPECT_FALSE(writer.Accept(AcceptedFor("r"), [] {})) << "too late";
  EXPECT_EQ(transport.closes, 1);
}

TEST(StreamWriterTest, CancelDuringWriteClosesAfterIt) {
  FakeTransport transport;
  StreamWriter writer({}, &transport);
  int cancels = 0;
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [&] { ++cancels; }));
  writer.OnCancel(absl::CancelledError("the client left"));
  writer.OnCancel(absl::CancelledError("the client left"));
  EXPECT_EQ(cancels, 1);
  EXPECT_EQ(transport.closes, 0);
  transport.Complete(&writer, false);
  EXPECT_EQ(transport.closes, 1);
  EXPECT_TRUE(absl::IsCancelled(transport.end));
}

TEST(StreamWriterTest, NoCancelAfterANormalEnd) {
  FakeTransport transport;
  StreamWriter writer({}, &transport);
  int cancels = 0;
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [&] { ++cancels; }));
  writer.OnFinished(0, v1::Finished(), {});
  while (transport.Complete(&writer)) {
  }
  writer.OnCancel(absl::CancelledError("the client left"));
  EXPECT_EQ(cancels, 0);
  EXPECT_EQ(transport.closes, 1);
}

TEST(StreamWriterTest, ErrorAfterAcceptanceFlushesAndHasNoFinished) {
  FakeTransport transport;
  StreamWriter writer({2, {}, SystemClock()}, &transport);
  int cancels = 0;
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [&] { ++cancels; }));
  writer.OnTokens(0, Text("x", 1));
  writer.End(absl::DeadlineExceededError("late"));
  EXPECT_EQ(cancels, 1) << "the other sequence";
  while (transport.Complete(&writer)) {
  }
  EXPECT_EQ(transport.messages.back().chunk().text(), "x");
  EXPECT_TRUE(absl::IsDeadlineExceeded(transport.end));
}

TEST(StreamWriterTest, NoFinishedAfterAnError) {
  FakeTransport transport;
  StreamWriter writer({2, {}, SystemClock()}, &transport);
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [] {}));
  writer.OnTokens(0, Text("x", 1));
  // As the engine tells of a request that somebody else cancelled.
  writer.End(absl::CancelledError("cancelled"));
  writer.OnFinished(0, v1::Finished(), {});
  writer.OnFinished(1, v1::Finished(), {});
  while (transport.Complete(&writer)) {
  }
  ASSERT_EQ(transport.messages.size(), 2u);
  EXPECT_EQ(transport.messages[1].chunk().text(), "x");
  EXPECT_TRUE(absl::IsCancelled(transport.end));
}

TEST(StreamWriterTest, EverySequenceHasItsOwnOrder) {
  FakeTransport transport;
  StreamWriter writer({3, {}, SystemClock()}, &transport);
  ASSERT_TRUE(writer.Accept(AcceptedFor("r"), [] {}));
  for (int i = 2; i >= 0; --i) {
    writer.OnTokens(i, Text(absl::StrCat("text", i), 1));
    writer.OnFinished(i, v1::Finished(), {3, 0, 1});
  }
  while (transport.Complete(&writer)) {
  }
  std::vector<int> chunks(3), finished(3);
  for (const auto& message : transport.messages) {
    if (message.has_chunk()) {
      EXPECT_EQ(finished[message.chunk().index()], 0);
      ++chunks[message.chunk().index()];
    }
    if (message.has_finished()) ++finished[message.finished().index()];
  }
  EXPECT_EQ(chunks, (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(finished, (std::vector<int>{1, 1, 1}));
  EXPECT_EQ(transport.messages.back().usage().completion_tokens(), 3u);
  EXPECT_TRUE(transport.end.ok());
}

// Engine, transport, client and timer act at once, at random moments; whatever happens, the stream
// is closed exactly once, and the engine is cancelled at most once.
TEST(StreamWriterTest, EndsOnceWhateverTheOrder) {
  for (uint64_t round = 0; round < 400; ++round) {
    auto transport = std::make_unique<FakeTransport>();
    StreamWriter writer({2, {}, SystemClock()}, transport.get());
    std::atomic<int> cancels{0};
    const auto pause = [](Random* random) {
      absl::SleepFor(absl::Microseconds(random->Below(60)));
    };
    {
      Thread engine("engine", [&] {
        Random random(round);
        if (!writer.Accept(AcceptedFor("r"), [&] { ++cancels; })) return;
        for (int i = 0; i < 5; ++i) {
          pause(&random);
          writer.OnTokens(static_cast<int>(random.Below(2)), Text("t", i));
        }
        if (round % 3 == 0) return writer.End(absl::UnavailableError("died"));
        writer.OnFinished(0, v1::Finished(), {});
        pause(&random);
        writer.OnFinished(1, v1::Finished(), {});
      });
      Thread client("client", [&] {
        Random random(round + 1000);
        pause(&random);
        pause(&random);
        if (round % 2 == 0) writer.OnCancel(absl::CancelledError("the client left"));
      });
      Thread timer("timer", [&] {
        Random random(round + 2000);
        pause(&random);
        if (round % 5 == 0) writer.EndIfStalled(absl::ZeroDuration());
      });
      Random random(round + 3000);
      const absl::Time limit = absl::Now() + absl::Seconds(20);
      while (!writer.finished() && absl::Now() < limit) {
        transport->Complete(&writer, random.Below(20) != 0);
        pause(&random);
      }
    }
    ASSERT_EQ(transport->closes, 1) << "round " << round;
    ASSERT_LE(cancels, 1);
  }
}

}  // namespace
}  // namespace transmla
