#include "engine/tool_call/parser.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

constexpr absl::string_view kOne = R"({"name": "f", "arguments": {"a": 1}})";
constexpr absl::string_view kTwo = R"({"name": "g", "parameters": {"b": [2]}})";

// The text, then each call as " !name arguments".
std::string Told(const ToolCallParser::Result& result) {
  std::string out = result.text;
  for (const ToolCall& call : result.calls)
    absl::StrAppend(&out, " !", call.name, " ", call.arguments);
  return out;
}

std::string Parse(ToolCallFormat format, absl::string_view reply) {
  ToolCallParser parser(format);
  ToolCallParser::Result result = parser.Push(reply);
  ToolCallParser::Result rest = parser.Flush();
  EXPECT_TRUE(rest.calls.empty());
  result.text += rest.text;
  EXPECT_EQ(Told(parser.Flush()), "");
  return Told(result);
}

std::string Hermes(absl::string_view reply) { return Parse(ToolCallFormat::kHermes, reply); }
std::string Llama3(absl::string_view reply) { return Parse(ToolCallFormat::kLlama3, reply); }
std::string Mistral(absl::string_view reply) { return Parse(ToolCallFormat::kMistral, reply); }

std::string Tagged(absl::string_view json) {
  return absl::StrCat("<tool_call>\n", json, "\n</tool_call>");
}

constexpr ToolCallFormat kFormats[] = {ToolCallFormat::kNone, ToolCallFormat::kHermes,
                                       ToolCallFormat::kLlama3, ToolCallFormat::kMistral};

TEST(ToolCallParserTest, TextStaysAsItIs) {
  for (const ToolCallFormat format : kFormats) {
    for (const absl::string_view text : {"",
                                         "Hello.",
                                         "\n\n Hello.\n\n",
                                         "   ",
                                         "a < b\n<tool\n<tool_cal",
                                         "[TOOL_CALL] [ [T",
                                         "<|python_ta",
                                         "{",
                                         "{ int x; }",
                                         "{}",
                                         "{\"a\": 1}",
                                         ";",
                                         "é😀 <é\n\né",
                                         "</tool_call>",
                                         "<tool_call>",
                                         "[TOOL_CALLS]",
                                         "<|python_tag|>print(1)",
                                         "\n<tool_call>\n",
                                         "[ARGS]{}",
                                         "<tool_call>[]</tool_call>",
                                         "[TOOL_CALLS]{}",
                                         "[TOOL_CALLS] []",
                                         "[TOOL_CALLS] [1]"}) {
      EXPECT_EQ(Parse(format, text), text);
    }
  }
}

TEST(ToolCallParserTest, WithoutAFormatThereAreNoCalls) {
  const std::string reply = absl::StrCat("\n", Tagged(kOne), "\n[TOOL_CALLS] [", kOne, "]");
  ToolCallParser parser(ToolCallFormat::kNone);
  EXPECT_EQ(Told(parser.Push(reply)), reply);
  EXPECT_EQ(Told(parser.Flush()), "");
}

TEST(ToolCallParserTest, OnlyAPossibleBeginningIsHeldBack) {
  ToolCallParser hermes(ToolCallFormat::kHermes);
  EXPECT_EQ(Told(hermes.Push("\n")), "");
  EXPECT_EQ(Told(hermes.Push("a ")), "\na ");
  EXPECT_EQ(Told(hermes.Push("b\n\n")), "b\n");
  EXPECT_EQ(Told(hermes.Push("<tool")), "");
  EXPECT_EQ(Told(hermes.Push("s")), "\n<tools");
  EXPECT_EQ(Told(hermes.Push("<")), "");
  EXPECT_EQ(Told(hermes.Push("<tool_call>")), "<");
  EXPECT_EQ(Told(hermes.Push("{\"name\"")), "");
  EXPECT_EQ(Told(hermes.Push(", ")), "<tool_call>{\"name\", ");

  ToolCallParser llama3(ToolCallFormat::kLlama3);
  EXPECT_EQ(Told(llama3.Push("{")), "");
  EXPECT_EQ(Told(llama3.Push(" \"name\": \"Bob\"}")), "{ \"name\": \"Bob\"}");
  EXPECT_EQ(Told(llama3.Push("{")), "{");
}

TEST(ToolCallParserTest, ACallGoesOutWhenItIsComplete) {
  ToolCallParser hermes(ToolCallFormat::kHermes);
  EXPECT_EQ(Told(hermes.Push(absl::StrCat("<tool_call>", kOne, "</tool_call"))), "");
  EXPECT_EQ(Told(hermes.Push(">")), " !f {\"a\":1}");
  ToolCallParser llama3(ToolCallFormat::kLlama3);
  EXPECT_EQ(Told(llama3.Push(kTwo.substr(0, kTwo.size() - 1))), "");
  EXPECT_EQ(Told(llama3.Push("}")), " !g {\"b\":[2]}");
  ToolCallParser mistral(ToolCallFormat::kMistral);
  EXPECT_EQ(Told(mistral.Push(absl::StrCat("[TOOL_CALLS][", kOne))), "");
  EXPECT_EQ(Told(mistral.Push("]")), " !f {\"a\":1}");
}

TEST(ToolCallParserTest, Hermes) {
  EXPECT_EQ(Hermes(Tagged(kOne)), " !f {\"a\":1}");
  EXPECT_EQ(Hermes(absl::StrCat("<tool_call>", kOne, "</tool_call>")), " !f {\"a\":1}");
  EXPECT_EQ(Hermes(absl::StrCat(Tagged(kOne), "\n", Tagged(kTwo))), " !f {\"a\":1} !g {\"b\":[2]}");
  EXPECT_EQ(Hermes(absl::StrCat("x", Tagged(kOne), "y", Tagged(kTwo), "z")),
            "xyz !f {\"a\":1} !g {\"b\":[2]}");
  EXPECT_EQ(Hermes(absl::StrCat("<<tool_call>", Tagged(kOne))), "<<tool_call> !f {\"a\":1}");
  // The other formats' marks mean nothing here.
  EXPECT_EQ(Hermes(kOne), kOne);
  EXPECT_EQ(Hermes(absl::StrCat(Tagged(kOne), ";", kTwo)),
            absl::StrCat(";", kTwo, " !f {\"a\":1}"));
}

TEST(ToolCallParserTest, Llama3) {
  EXPECT_EQ(Llama3(kTwo), " !g {\"b\":[2]}");
  EXPECT_EQ(Llama3(kOne), " !f {\"a\":1}");
  EXPECT_EQ(Llama3(absl::StrCat("<|python_tag|>", kTwo)), " !g {\"b\":[2]}");
  EXPECT_EQ(Llama3(absl::StrCat("x <|python_tag|> ", kTwo)), "x  !g {\"b\":[2]}");
  EXPECT_EQ(Llama3(absl::StrCat(kTwo, "; ", kOne, ";\n<|python_tag|>", kTwo)),
            " !g {\"b\":[2]} !f {\"a\":1} !g {\"b\":[2]}");
  // The object may only begin the reply or follow a call.
  EXPECT_EQ(Llama3(absl::StrCat("x ", kTwo)), absl::StrCat("x ", kTwo));
  EXPECT_EQ(Llama3(absl::StrCat(kTwo, " x ", kOne)), absl::StrCat(" x ", kOne, " !g {\"b\":[2]}"));
  EXPECT_EQ(Llama3(absl::StrCat("{\"a\": 1}", kTwo)), absl::StrCat("{\"a\": 1}", kTwo));
  // A ";" that no call follows is text.
  EXPECT_EQ(Llama3(absl::StrCat(kTwo, "; ")), ";  !g {\"b\":[2]}");
  EXPECT_EQ(Llama3(absl::StrCat(kTwo, ";;", kOne)), absl::StrCat(";;", kOne, " !g {\"b\":[2]}"));
  EXPECT_EQ(Llama3(absl::StrCat(";", kOne)), absl::StrCat(";", kOne));
}

TEST(ToolCallParserTest, Mistral) {
  EXPECT_EQ(Mistral(absl::StrCat("[TOOL_CALLS] [", kOne, "]")), " !f {\"a\":1}");
  EXPECT_EQ(Mistral(absl::StrCat("x[TOOL_CALLS][", kOne, ", ", kTwo, "] y")),
            "x y !f {\"a\":1} !g {\"b\":[2]}");
  EXPECT_EQ(Mistral(absl::StrCat("[[TOOL_CALLS][", kOne, "]")), "[ !f {\"a\":1}");
  EXPECT_EQ(Mistral("[TOOL_CALLS]get_a.b-1[ARGS]{\"a\": [1]}"), " !get_a.b-1 {\"a\":[1]}");
  EXPECT_EQ(Mistral("x [TOOL_CALLS] f{\"a\": 1}[TOOL_CALLS]g[ARGS] {}"), "x  !f {\"a\":1} !g {}");
  EXPECT_EQ(Mistral(absl::StrCat("[TOOL_CALLS]f{}[TOOL_CALLS][", kTwo, "]")),
            " !f {} !g {\"b\":[2]}");
  for (const absl::string_view text :
       {"[TOOL_CALLS]f", "[TOOL_CALLS]f g", "[TOOL_CALLS]f[ARGS]", "[TOOL_CALLS]f[ARGS][]",
        "[TOOL_CALLS]f[ARGS]x", "[TOOL_CALLS][ARGS]{}", "[TOOL_CALLS]é{}", "[TOOL_CALLS]f[]",
        "[TOOL_CALLS]f{\"a\": 01}"}) {
    EXPECT_EQ(Mistral(text), text);
  }
  // One that is no call spoils its array.
  const std::string spoiled = absl::StrCat("[TOOL_CALLS][", kOne, ", {\"name\": \"g\"}]");
  EXPECT_EQ(Mistral(spoiled), spoiled);
}

TEST(ToolCallParserTest, WhiteSpaceGoesOnlyWithACall) {
  EXPECT_EQ(Hermes(absl::StrCat("\n \n", Tagged(kOne), "\n \n\n", Tagged(kOne), " \n\n")),
            " !f {\"a\":1} !f {\"a\":1}");
  EXPECT_EQ(Hermes(absl::StrCat("\nx\n\n", Tagged(kOne), "\n\n y\n")), "\nx\n\n y\n !f {\"a\":1}");
  EXPECT_EQ(Hermes(absl::StrCat("x\n ", Tagged(kOne), " \ny")), "x\n  \ny !f {\"a\":1}");
  EXPECT_EQ(Hermes(absl::StrCat("<tool_call> \r\n\t", kOne, " \r\n\t</tool_call>")),
            " !f {\"a\":1}");
  EXPECT_EQ(Hermes(absl::StrCat(Tagged(kOne), "\n\n", Tagged("{}"), "\n")),
            absl::StrCat("\n", Tagged("{}"), "\n !f {\"a\":1}"));
  EXPECT_EQ(Llama3(absl::StrCat("\n\n", kTwo, " \n;\n ", kTwo, "\n\n")),
            " !g {\"b\":[2]} !g {\"b\":[2]}");
  EXPECT_EQ(Llama3(absl::StrCat("\n\n", kTwo, "\n\n;\n x")), "\n;\n x !g {\"b\":[2]}");
  EXPECT_EQ(Llama3("\n\n{}\n\n"), "\n\n{}\n\n");
  EXPECT_EQ(Mistral(absl::StrCat("x\n[TOOL_CALLS]\n[", kOne, "]\n")), "x !f {\"a\":1}");
}

TEST(ToolCallParserTest, StringsMayHoldAnything) {
  const std::string arguments =
      R"({"s":"}]\" \\ <tool_call>\n</tool_call> [TOOL_CALLS] <|python_tag|>; é😀","{":{"[":[[]]}})";
  const std::string call = absl::StrCat(R"({"name": "f", "arguments": )", arguments, "}");
  const std::string expected = absl::StrCat(" !f ", arguments);
  EXPECT_EQ(Hermes(Tagged(call)), expected);
  EXPECT_EQ(Llama3(call), expected);
  EXPECT_EQ(Mistral(absl::StrCat("[TOOL_CALLS] [", call, "]")), expected);
  EXPECT_EQ(Mistral(absl::StrCat("[TOOL_CALLS]f[ARGS]", arguments)), expected);
  EXPECT_EQ(Hermes(Tagged(R"({"name": "\u0066\u00e9", "arguments": {"a": "\ud83d\ude00\/\t"}})")),
            " !fé {\"a\":\"😀/\\t\"}");
}

TEST(ToolCallParserTest, MalformedCallsAreText) {
  for (const absl::string_view json :
       {"{}", "x", "[]", R"({"name": "f"})", R"({"name": "", "arguments": {}})",
        R"({"name": "f", "arguments": []})", R"({"name": "f", "arguments": "{}"})",
        R"({"name": "f", "arguments": {})", R"({"name": "f", "arguments": {}}})",
        R"({"name": "f", "arguments": {"a": 1,}})", R"({"name": "f", "arguments": {"a": 01}})",
        R"({'name': 'f', 'arguments': {}})", "{\"name\": \"f\n\", \"arguments\": {}}",
        R"({"name": "f", "arguments": {"a": "\ud83d"}})"}) {
    const std::string text = absl::StrCat("\n", Tagged(json), "\n");
    EXPECT_EQ(Hermes(text), text);
    // What follows is read again.
    EXPECT_EQ(Hermes(absl::StrCat(text, Tagged(kOne))),
              absl::StrCat("\n", Tagged(json), " !f {\"a\":1}"));
    const std::string array = absl::StrCat("[TOOL_CALLS] [", json, "]\n");
    EXPECT_EQ(Mistral(array), array);
  }
  EXPECT_EQ(Hermes(absl::StrCat("<tool_call>", kOne, "</tool>")),
            absl::StrCat("<tool_call>", kOne, "</tool>"));
  // Any byte may be the one that shows that a call is none, also one that begins the next.
  EXPECT_EQ(Hermes(absl::StrCat("<tool_call>{\"a\": ", Tagged(kOne))),
            "<tool_call>{\"a\":  !f {\"a\":1}");
  EXPECT_EQ(Hermes(absl::StrCat("<tool_call>", kOne, "\n", Tagged(kOne))),
            absl::StrCat("<tool_call>", kOne, " !f {\"a\":1}"));
  EXPECT_EQ(Mistral("[TOOL_CALLS]f[TOOL_CALLS]g{}"), "[TOOL_CALLS]f !g {}");
  EXPECT_EQ(Mistral("[TOOL_CALLS][[TOOL_CALLS]g{}"), "[TOOL_CALLS][ !g {}");
  EXPECT_EQ(Llama3(absl::StrCat(" \n\n<<|python_tag|>", kTwo)), " \n\n< !g {\"b\":[2]}");
}

TEST(ToolCallParserTest, TruncatedCallsAreText) {
  const struct {
    ToolCallFormat format;
    std::string reply;
  } cases[] = {{ToolCallFormat::kHermes, absl::StrCat("x\n", Tagged(kOne))},
               {ToolCallFormat::kLlama3, absl::StrCat("\n<|python_tag|>", kTwo)},
               {ToolCallFormat::kLlama3, std::string(kTwo)},
               {ToolCallFormat::kMistral, absl::StrCat("x [TOOL_CALLS] [", kOne, "]")},
               {ToolCallFormat::kMistral, "[TOOL_CALLS]f[ARGS]{\"a\": 1}"}};
  for (const auto& [format, reply] : cases) {
    for (size_t length = 0; length < reply.size(); ++length) {
      EXPECT_EQ(Parse(format, reply.substr(0, length)), reply.substr(0, length));
    }
    EXPECT_NE(Parse(format, reply), reply);
  }
}

TEST(ToolCallParserTest, NestingHasALimit) {
  const auto nested = [](int levels) {
    return absl::StrCat(R"({"name": "f", "arguments": {"a": )", std::string(levels, '['),
                        std::string(levels, ']'), "}}");
  };
  const int most = JsonScanner::kMaxDepth - 2;
  EXPECT_EQ(Llama3(nested(most)),
            absl::StrCat(" !f {\"a\":", std::string(most, '['), std::string(most, ']'), "}"));
  EXPECT_EQ(Llama3(nested(most + 1)), nested(most + 1));
  EXPECT_EQ(Llama3(nested(100000)), nested(100000));
}

TEST(ToolCallParserTest, ALongCallIsGivenUp) {
  constexpr size_t kMost = ToolCallParser::kMaxCallBytes;
  const auto call = [](size_t bytes) {
    const std::string begin = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"";
    const std::string end = "\"}}</tool_call>";
    return begin + std::string(bytes - begin.size() - end.size(), 'x') + end;
  };
  const std::string longest = call(kMost);
  EXPECT_EQ(Hermes(longest).substr(0, 10), " !f {\"a\":\"");
  const std::string longer = call(kMost + 1);
  EXPECT_EQ(Hermes(longer), longer);

  ToolCallParser parser(ToolCallFormat::kHermes);
  EXPECT_EQ(parser.Push(longer.substr(0, kMost)).text, "");
  EXPECT_EQ(parser.Push(">").text, longer);
  EXPECT_EQ(Told(parser.Push(absl::StrCat("\n", Tagged(kOne)))), " !f {\"a\":1}");

  // White space counts too.
  const std::string space(kMost + 1, ' ');
  ToolCallParser waiting(ToolCallFormat::kLlama3);
  EXPECT_EQ(waiting.Push(space).text, space);
}

}  // namespace
}  // namespace transmla
