// Properties of ToolCallParser over random replies.
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"
#include "engine/tool_call/parser.h"

namespace transmla {
namespace {

constexpr ToolCallFormat kFormats[] = {ToolCallFormat::kNone, ToolCallFormat::kHermes,
                                       ToolCallFormat::kLlama3, ToolCallFormat::kMistral};

struct Outcome {
  std::string text;
  std::vector<std::string> calls;
  bool operator==(const Outcome&) const = default;

  void Add(const ToolCallParser::Result& result) {
    text += result.text;
    for (const ToolCall& call : result.calls)
      calls.push_back(absl::StrCat(call.name, " ", call.arguments));
  }
};

Outcome Parse(ToolCallFormat format, const std::vector<std::string>& pieces) {
  ToolCallParser parser(format);
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.Add(parser.Push(piece));
  outcome.Add(parser.Flush());
  return outcome;
}

std::vector<std::string> Cut(const std::string& text, uint64_t longest, Random& random) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size();) {
    const size_t length = random.Below(longest + 1);  // empty pieces too
    pieces.push_back(text.substr(at, length));
    at += length;
  }
  return pieces;
}

// Pieces of calls and of what looks like them.
constexpr absl::string_view kParts[] = {"<tool_call>",
                                        "</tool_call>",
                                        "<|python_tag|>",
                                        "[TOOL_CALLS]",
                                        "[ARGS]",
                                        R"({"name": "f", "arguments": {"a": "}<tool_call>"}})",
                                        R"({"name": "g", "parameters": {}})",
                                        R"({"name": "g"})",
                                        R"({"name": "f",)",
                                        R"("arguments": {}})",
                                        "name",
                                        "[",
                                        "]",
                                        "{",
                                        "}",
                                        ";",
                                        ",",
                                        "<",
                                        "<tool",
                                        "\"",
                                        "\\",
                                        "\n",
                                        "\n",
                                        " ",
                                        "é",
                                        "text"};

// Well-formed calls amid text, and some of the parts above at random places.
std::string Reply(Random& random) {
  std::string reply;
  for (uint64_t i = random.Below(8); i > 0; --i) {
    const absl::string_view object = kParts[5 + random.Below(3)];
    switch (random.Below(8)) {
      case 0:
        absl::StrAppend(&reply, "\n<tool_call>\n", object, "\n</tool_call>");
        break;
      case 1:
        absl::StrAppend(&reply, "[TOOL_CALLS] [", object, "]");
        break;
      case 2:
        absl::StrAppend(&reply, "[TOOL_CALLS]f[ARGS]", object);
        break;
      case 3:
        absl::StrAppend(&reply, "<|python_tag|>", object);
        break;
      case 4:
        absl::StrAppend(&reply, object, ";");
        break;
      default:
        absl::StrAppend(&reply, kParts[random.Below(std::size(kParts))]);
    }
  }
  return reply;
}

TEST(ToolCallSplitTest, BordersOfPiecesNeverMatter) {
  constexpr uint64_t kSeed = 7;
  Random random(kSeed);
  size_t calls = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string reply = Reply(random);
    const std::vector<std::string> pieces = Cut(reply, 1 + random.Below(12), random);
    for (const ToolCallFormat format : kFormats) {
      const Outcome whole = Parse(format, {reply});
      const Outcome cut = Parse(format, pieces);
      ASSERT_EQ(cut, whole) << "seed " << kSeed << " round " << round << ": \""
                            << absl::StrJoin(pieces, "|") << "\": \"" << cut.text << "\" and "
                            << cut.calls.size() << " calls, whole \"" << whole.text << "\" and "
                            << whole.calls.size();
      // Without a call nothing is lost, and never is anything let out twice.
      if (whole.calls.empty()) {
        ASSERT_EQ(whole.text, reply);
      }
      ASSERT_LE(whole.text.size(), reply.size());
      calls += whole.calls.size();
    }
  }
  EXPECT_GT(calls, 5000u);
}

// The parts that a reply is made of say what must come out of it.
TEST(ToolCallSplitTest, TextAndCallsComeOutAsTheyWentIn) {
  constexpr uint64_t kSeed = 9;
  constexpr absl::string_view kTexts[] = {"a",  "b c",          "é😀",    "<",    "< tool_call>",
                                          "[[", "[TOOL_CALL",   "<|x|>", "\n\n", "x\n\ny",
                                          "}",  "</tool_call>", "\"{\"", ";;"};
  Random random(kSeed);
  for (int round = 0; round < 20000; ++round) {
    const ToolCallFormat format = kFormats[1 + random.Below(3)];
    std::string reply;
    Outcome expected;
    for (uint64_t i = random.Below(6); i > 0; --i) {
      // Bordered by letters, no text is white space that goes with a call.
      const std::string text = absl::StrCat("x", kTexts[random.Below(std::size(kTexts))],
                                            kTexts[random.Below(std::size(kTexts))], "x");
      const std::string arguments =
          absl::StrCat(R"({"k":")", kTexts[random.Below(6)], R"(<tool_call>"})");
      const std::string name = absl::StrCat("tool_", random.Below(100));
      const std::string object =
          absl::StrCat(R"({"name": ")", name, R"(", "arguments": )", arguments, "}");
      absl::StrAppend(&reply, text, random.Below(2) == 0 ? "\n" : "");
      switch (format) {
        case ToolCallFormat::kHermes:
          absl::StrAppend(&reply, "<tool_call>\n", object, "\n</tool_call>");
          break;
        case ToolCallFormat::kLlama3:
          absl::StrAppend(&reply, "<|python_tag|>", object);
          break;
        default:
          absl::StrAppend(&reply, "[TOOL_CALLS]", name, "[ARGS]", arguments);
      }
      absl::StrAppend(&reply, random.Below(2) == 0 ? "\n" : "");
      absl::StrAppend(&expected.text, text);
      expected.calls.push_back(absl::StrCat(name, " ", arguments));
    }
    const Outcome outcome = Parse(format, Cut(reply, 6, random));
    ASSERT_EQ(outcome, expected) << "seed " << kSeed << " round " << round << ": " << reply
                                 << "\ngot: " << outcome.text;
  }
}

// Work must not grow with what is held back already.
TEST(ToolCallSplitTest, LongRepliesTakeLinearTime) {
  std::string reply = "<tool_call>";
  while (reply.size() < (size_t{2} << 20)) reply += "{\"a\":\n<tool_call>[\n[TOOL_CALLS]f[ <|py";
  const std::string call = absl::StrCat("{\"name\": \"f\", \"arguments\": {\"a\": \"",
                                        std::string(1000000, 'x'), "\"}}");
  for (const ToolCallFormat format : kFormats) {
    ToolCallParser parser(format);
    Outcome outcome;
    for (const char c : reply) outcome.Add(parser.Push(absl::string_view(&c, 1)));
    outcome.Add(parser.Flush());
    EXPECT_EQ(outcome.text, reply);
  }
  Outcome outcome;
  ToolCallParser parser(ToolCallFormat::kLlama3);
  for (const char c : call) outcome.Add(parser.Push(absl::string_view(&c, 1)));
  EXPECT_EQ(outcome.calls.size(), 1u);
}

}  // namespace
}  // namespace transmla
