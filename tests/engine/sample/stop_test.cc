#include "engine/sample/stop.h"

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

struct Outcome {
  std::string text;
  std::string matched;
  bool operator==(const Outcome&) const = default;
};

// The definition: byte by byte, the text ends where the first stop string is complete; of several
// that end at the same byte the longest counts.
Outcome Definition(const std::string& text, const std::vector<std::string>& stops, bool include) {
  for (size_t end = 1; end <= text.size(); ++end) {
    const absl::string_view seen = absl::string_view(text).substr(0, end);
    const std::string* best = nullptr;
    for (const std::string& stop : stops) {
      if (absl::EndsWith(seen, stop) && (best == nullptr || stop.size() > best->size()))
        best = &stop;
    }
    if (best != nullptr)
      return {std::string(seen.substr(0, include ? end : end - best->size())), *best};
  }
  return {text, ""};
}

// Pushes `pieces` until one ends the text, and checks that what is out at any moment is part of the
// final text.
Outcome Stream(const std::vector<std::string>& pieces, const std::vector<std::string>& stops,
               bool include, const Outcome& expected) {
  StopMatcher matcher(stops, include);
  Outcome outcome;
  for (const std::string& piece : pieces) {
    const StopMatcher::Result result = matcher.Push(piece);
    outcome.text += result.text;
    EXPECT_TRUE(absl::StartsWith(expected.text, outcome.text)) << "let out too much";
    if (!result.matched.empty()) {
      outcome.matched = result.matched;
      EXPECT_EQ(matcher.Flush(), "");
      return outcome;
    }
  }
  outcome.text += matcher.Flush();
  return outcome;
}

std::vector<std::string> Cut(const std::string& text, Random& random) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size();) {
    const size_t length = random.Below(5);  // empty pieces too
    pieces.push_back(text.substr(at, length));
    at += length;
  }
  return pieces;
}

TEST(StopTest, WithoutStopStringsTextPassesAtOnce) {
  StopMatcher matcher({}, false);
  EXPECT_EQ(matcher.Push("abc").text, "abc");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopTest, HoldsBackOnlyWhatCouldBecomeAStop) {
  StopMatcher matcher({"###"}, false);
  EXPECT_EQ(matcher.Push("ab#").text, "ab");
  EXPECT_EQ(matcher.Push("#").text, "");
  EXPECT_EQ(matcher.Push("c").text, "##c");
  EXPECT_EQ(matcher.Push("x##").text, "x");
  EXPECT_EQ(matcher.Flush(), "##");
  EXPECT_EQ(matcher.Flush(), "");
}

TEST(StopTest, CutsBeforeOrAfterTheStop) {
  StopMatcher before({"END"}, false);
  EXPECT_EQ(before.Push("one EN").text, "one ");
  StopMatcher::Result result = before.Push("D two");
  EXPECT_EQ(result.text, "");
  EXPECT_EQ(result.matched, "END");
  StopMatcher after({"END"}, true);
  EXPECT_EQ(after.Push("one EN").text, "one ");
  EXPECT_EQ(after.Push("D two").text, "END");
}

TEST(StopTest, TheStopThatIsCompleteFirstCounts) {
  for (const bool whole : {true, false}) {
    const std::vector<std::string> pieces =
        whole ? std::vector<std::string>{"xabcd"} : std::vector<std::string>{"xab", "c", "d"};
    for (const std::vector<std::string>& stops :
         {std::vector<std::string>{"abcd", "bc"}, std::vector<std::string>{"bc", "abcd"}}) {
      EXPECT_EQ(Stream(pieces, stops, false, {"xa", "bc"}), (Outcome{"xa", "bc"}));
    }
    // Both end at the same byte.
    EXPECT_EQ(Stream(pieces, {"c", "abc"}, false, {"x", "abc"}), (Outcome{"x", "abc"}));
  }
}

TEST(StopTest, BordersOfPiecesNeverMatter) {
  constexpr uint64_t kSeed = 5;
  Random random(kSeed);
  int matches = 0;
  for (int round = 0; round < 20000; ++round) {
    // Two or three letters make overlaps and repetitions common.
    const uint64_t letters = 2 + random.Below(2);
    const auto word = [&](uint64_t length) {
      std::string out;
      while (out.size() < length) out += static_cast<char>('a' + random.Below(letters));
      return out;
    };
    std::vector<std::string> stops(1 + random.Below(4));
    for (std::string& stop : stops) stop = word(1 + random.Below(6));
    const std::string text = word(random.Below(40));
    const bool include = random.Below(2) == 0;
    const Outcome expected = Definition(text, stops, include);
    const std::vector<std::string> pieces = Cut(text, random);
    const Outcome outcome = Stream(pieces, stops, include, expected);
    ASSERT_EQ(outcome, expected) << "seed " << kSeed << " round " << round << ": \""
                                 << absl::StrJoin(pieces, "|") << "\" stops "
                                 << absl::StrJoin(stops, ",") << ": got \"" << outcome.text
                                 << "\" by \"" << outcome.matched << "\", wanted \""
                                 << expected.text << "\" by \"" << expected.matched << "\"";
    if (testing::Test::HasFailure()) return;
    if (!expected.matched.empty()) ++matches;
  }
  EXPECT_GT(matches, 2000);
  EXPECT_LT(matches, 19000);
}

TEST(StopTest, ManyBytesAreHeldForALongStop) {
  const std::string stop(256, 'z');
  StopMatcher matcher({stop}, false);
  std::string out;
  for (int i = 0; i < 255; ++i) out += matcher.Push("z").text;
  EXPECT_EQ(out, "");
  EXPECT_EQ(matcher.Push("y").text, std::string(255, 'z') + "y");
}

}  // namespace
}  // namespace transmla
