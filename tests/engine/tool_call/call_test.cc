#include "engine/tool_call/call.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

namespace transmla {
namespace {

std::string Arguments(absl::string_view object) {
  const auto calls = ReadToolCalls(absl::StrCat(R"({"name": "f", "arguments": )", object, "}"));
  return calls.empty() ? "no call" : calls[0].arguments;
}

TEST(CallTest, IsAnObjectOrAnArrayOfThem) {
  auto calls = ReadToolCalls(R"({"name": "get_weather", "arguments": {"city": "Paris"}})");
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].name, "get_weather");
  EXPECT_EQ(calls[0].arguments, R"({"city":"Paris"})");

  calls =
      ReadToolCalls(R"([{"parameters": {}, "name": "f"}, {"name": "g", "arguments": {"a": 1}}])");
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0].name, "f");
  EXPECT_EQ(calls[0].arguments, "{}");
  EXPECT_EQ(calls[1].name, "g");
  EXPECT_EQ(calls[1].arguments, R"({"a":1})");
}

TEST(CallTest, ArgumentsAreWrittenAsTheLibraryWouldInTheModelsOrder) {
  for (const absl::string_view object :
       {R"({})", R"({"z": 1, "a": 2, "m": 3})", R"({"a": [ ], "b": { }, "c": [ { }, [ ] ]})",
        R"({"a": [1, [2, {"b": null}], true], "c": {"d": {"e": [false]}}, "f": ""})",
        R"({"name": "x", "arguments": {"name": 1}, "parameters": []})",
        R"({"q": "say \"hi\" \\ \/ \b\f\n\r\t", "{": "}]", "u": "\u00e9\ud83d\ude00 é 😀"})",
        R"({"n": -0, "i": -9223372036854775808, "u": 18446744073709551615, "f": 0.5, "k\n": 1})"}) {
    EXPECT_EQ(Arguments(object), nlohmann::ordered_json::parse(object).dump()) << object;
  }
  // The library's tree would round these.
  EXPECT_EQ(Arguments(R"({"a": 123456789012345678901234567890, "b": 1.10, "c": 1E+2})"),
            R"({"a":123456789012345678901234567890,"b":1.10,"c":1E+2})");
}

TEST(CallTest, OtherKeysArePassedOver) {
  const auto calls = ReadToolCalls(
      R"({"id": "abc", "type": {"name": 1, "arguments": [{}]}, "x": [1, {"name": ""}, [null]],
          "name": "f", "n": 0.5, "arguments": {"a": true}, "y": "z", "b": false})");
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(calls[0].name, "f");
  EXPECT_EQ(calls[0].arguments, R"({"a":true})");
}

TEST(CallTest, AnythingElseIsNoCall) {
  for (const absl::string_view text : {"",
                                       "null",
                                       "1",
                                       "\"name\"",
                                       "{",
                                       "{}",
                                       "[]",
                                       "[[]]",
                                       "[1]",
                                       "[null]",
                                       "[\"a\"]",
                                       R"({"name": "f"})",
                                       R"({"arguments": {}})",
                                       R"({"name": "", "arguments": {}})",
                                       R"({"name": 1, "arguments": {}})",
                                       R"({"name": null, "arguments": {}})",
                                       R"({"name": ["f"], "arguments": {}})",
                                       R"({"name": {"name": "f"}, "arguments": {}})",
                                       R"({"name": "f", "arguments": []})",
                                       R"({"name": "f", "arguments": "{}"})",
                                       R"({"name": "f", "arguments": null})",
                                       R"({"name": "f", "arguments": 0.5})",
                                       R"({"name": "f", "name": "g", "arguments": {}})",
                                       R"({"name": "f", "arguments": {}, "arguments": {}})",
                                       R"({"name": "f", "arguments": {}, "parameters": {}})",
                                       R"([{"name": "f", "arguments": {}}, {"name": "g"}])",
                                       R"([{"name": "f", "arguments": {}}, 1])",
                                       R"([[{"name": "f", "arguments": {}}]])",
                                       R"({"name": "f", "arguments": {"a": tru}})",
                                       R"({"name": "f", "arguments": {"a": 01}})",
                                       R"({"name": "f", "arguments": {"a": "\ud83d"}})",
                                       R"({"name": "f", "arguments": {"a": 1e999}})",
                                       R"({"name": "f", "arguments": {}} x)"}) {
    EXPECT_TRUE(ReadToolCalls(text).empty()) << text;
  }
}

TEST(CallTest, ManyKeysTakeLinearTime) {
  std::string object = "{";
  for (int i = 0; i < 100000; ++i) absl::StrAppend(&object, i == 0 ? "" : ",", "\"", i, "\":0");
  absl::StrAppend(&object, "}");
  EXPECT_EQ(Arguments(object), object);  // a quadratic reader would run into the test's time limit
}

}  // namespace
}  // namespace transmla
