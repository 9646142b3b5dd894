#include "engine/tool_call/json_scanner.h"

#include <cstdint>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/base/random.h"

namespace transmla {
namespace {

using Step = JsonScanner::Step;

// What the last byte that was taken led to, and how many were.
struct Outcome {
  Step step;
  size_t bytes;
  bool operator==(const Outcome&) const = default;
};

Outcome Scan(absl::string_view text) {
  JsonScanner scanner;
  for (size_t i = 0; i < text.size(); ++i) {
    const Step step = scanner.Push(text[i]);
    if (step != Step::kMore) return {step, i + 1};
  }
  return {Step::kMore, text.size()};
}

std::string Repeat(absl::string_view part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) absl::StrAppend(&out, part);
  return out;
}

TEST(JsonScannerTest, FindsTheEnd) {
  EXPECT_EQ(Scan("{}}"), (Outcome{Step::kEnd, 2}));
  EXPECT_EQ(Scan("[]]"), (Outcome{Step::kEnd, 2}));
  EXPECT_EQ(Scan("{\"a\": [1, {\"b\": \"}]\\\"\"}]}, x"), (Outcome{Step::kEnd, 25}));
  EXPECT_EQ(Scan("{\"a\": \"\\\\\"}\""), (Outcome{Step::kEnd, 11}));
  EXPECT_EQ(Scan("{\"a\": {}"), (Outcome{Step::kMore, 8}));
}

TEST(JsonScannerTest, SeesAtOnceWhatIsNoJson) {
  for (const absl::string_view text :
       {"x",         "\"",        "1",       " ",       "}",        "{x",       "{1",
        "{,",        "{]",        "{\"a\",", "{\"a\"}", "{\"a\":}", "{\"a\":,", "{\"a\":1,}",
        "{\"a\":1]", "{\"a\":1:", "[}",      "[,",      "[1,]",     "[1}",      "[1:",
        "[x",        "[\"a\" \"", "[\"\n",   "[\"\\x",  "{\"a\" 1", "[1 2",     "[+",
        "[.",        "[<",        "{'"}) {
    EXPECT_EQ(Scan(text), (Outcome{Step::kError, text.size()})) << text;
  }
}

TEST(JsonScannerTest, RefusesOneLevelTooMany) {
  constexpr int kDepth = JsonScanner::kMaxDepth;
  for (const absl::string_view open : {"[", "{\"a\":"}) {
    const absl::string_view close = open == "[" ? "]" : "}";
    const std::string inner = open == "[" ? "" : "1";
    const std::string deepest = Repeat(open, kDepth) + inner + Repeat(close, kDepth);
    EXPECT_EQ(Scan(deepest), (Outcome{Step::kEnd, deepest.size()}));
    EXPECT_EQ(Scan(Repeat(open, kDepth) + (open == "[" ? "[" : "{")).step, Step::kError);
  }
}

// Random texts of JSON's own pieces, judged by the library. A number or literal ends in a space, as
// what is inside of one the scanner leaves to the library.
TEST(JsonScannerTest, AgreesWithAParser) {
  constexpr uint64_t kSeed = 11;
  constexpr absl::string_view kPieces[] = {
      "{",     "}",  "[",  "]",     ",",         ":",      " ",  "\n",   "1 ",      "-2.5e+3 ",
      "true ", "{}", "[]", "\"a\"", "\"b\": 0 ", "\"c\":", "\"", "\\\"", "\\u00e9", "é"};
  Random random(kSeed);
  int accepted = 0;
  for (int round = 0; round < 200000; ++round) {
    std::string text = random.Below(2) == 0 ? "{" : "[";
    Outcome outcome = Scan(text);
    for (int i = 0; i < 12 && outcome.step == Step::kMore; ++i) {
      absl::StrAppend(&text, kPieces[random.Below(std::size(kPieces))]);
      outcome = Scan(text);
    }
    const bool json = nlohmann::json::accept(text);
    accepted += json ? 1 : 0;
    const bool ends = outcome == Outcome{Step::kEnd, text.size()};
    ASSERT_EQ(ends, json) << "seed " << kSeed << " round " << round << ": " << text;
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace transmla
