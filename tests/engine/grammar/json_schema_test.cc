#include "engine/grammar/json_schema.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/matching.h"

namespace transmla::grammar {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* schema;
  std::vector<std::string> good;
  std::vector<std::string> bad;
};

TEST(JsonSchemaTest, AllowsValidDocumentsOnly) {
  const Case cases[] = {
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"]})",
       {R"({"a":1})", R"({"a": -20, "b": "x"})", "{\n  \"a\": 0,\n  \"b\": \"\"\n}"},
       {"{}", R"({"b":"x"})", R"({"b":"x","a":1})", R"({"a":1.5})", R"({"a":1,"c":2})",
        R"({"a":01})", R"({"a":-0})", R"({"a":1,})", R"({"a":1)"}},
      {R"({"type":"object","properties":{"a":{},"b":{},"c":{"type":"null"}}})",
       {"{}", R"({"a":[1,{"x":"y"}]})", R"({"b":true})", R"({"a":1,"c":null})",
        R"({"b":1,"c":null})"},
       {R"({,"a":1})", R"({"c":1})", R"({"c":null,"a":1})"}},
      {R"({"type":"object","properties":{"ab":{"type":"integer"}},"additionalProperties":{"type":"boolean"}})",
       {R"({"ab":1,"a":true,"abc":false,"b":true})", R"({"x":true})", R"({"":true})"},
       {R"({"ab":true})", R"({"x":1})", R"({"a\u0062":true})", R"({"x":true,"ab":true})"}},
      {R"({"type":"object"})", {"{}", R"({"a":{"b":[]}})"}, {"[]", "1"}},
      {R"({"required":["z"],"additionalProperties":false,"properties":{}})", {}, {"{}"}},
      {R"({"required":["z"]})", {R"({"z":1})", R"({"z":1,"y":2})"}, {"{}", R"({"y":2})"}},
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1, 2,3]"},
       {"[]", "[1,2,3,4]", "[1,]", R"(["a"])"}},
      {R"({"type":"array","items":{"type":"boolean"},"maxItems":0})", {"[]"}, {"[true]"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"},{"type":"string"}],"minItems":1})",
       {"[1]", R"([1,"a"])"},
       {"[]", R"(["a"])", R"([1,"a",2])"}},
      {R"({"type":"array","prefixItems":[{"type":"integer"}],"items":{"type":"string"},"minItems":2,"maxItems":3})",
       {R"([1,"a"])", R"([1,"a","b"])"},
       {"[1]", R"([1,2])", R"([1,"a","b","c"])"}},
      {R"({"items":[{"type":"null"}],"additionalItems":{"type":"boolean"}})",
       {"[]", "[null]", "[null,true]"},
       {"[true]"}},
      {R"({"type":"string","minLength":2,"maxLength":4})",
       {R"("ab")", R"("\n\u00e4")",
        "\"\xC3\xA4\xF0\x9F\x98\x80"
        "bc\""},
       {R"("a")", R"("abcde")"}},
      {R"({"type":"string"})",
       {R"("")", R"("a\"\\\/\b\u12aF")"},
       {"\"\n\"", R"("\x")", R"("\ud800")", R"("a)", "\"\xFF\""}},
      {R"({"type":"string","pattern":"^[a-z\"]+\\d$"})",
       {R"("ab1")", R"("a\"1")"},
       {R"("A1")", R"("ab")"}},
      {R"({"type":"string","pattern":"b"})", {R"("abc")", R"("b")"}, {R"("ac")"}},
      {R"({"type":"string","format":"date"})", {R"("2026-11-26")"}, {R"("2026-13-26")", R"("x")"}},
      {R"({"type":"string","format":"no-such-format"})", {R"("x")"}, {"1"}},
      {R"({"enum":["red","gr\u00fcn",3,null,{"a":[1]}]})",
       {R"("red")", "\"gr\xC3\xBCn\"", "3", "null", R"({"a":[1]})"},
       {R"("blue")", "4"}},
      {R"({"type":"string","enum":["a",1]})", {R"("a")"}, {"1"}},
      {R"({"const":{"x":1}})", {R"({"x":1})"}, {R"({"x":2})"}},
      {R"({"type":["string","null"]})", {R"("a")", "null"}, {"1"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"1", "null"}},
      {R"({"type":"number"})",
       {"0", "-1.5", "2e10", "0.25E-3"},
       {".5", "1.", "+1", "01", "1e", "NaN"}},
      {R"({"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"null"}}]})",
       {"1", "[null]"},
       {"null", "[1]"}},
      {R"({"type":"object","properties":{"k":{"type":"integer"}},"required":["k"],"anyOf":[
           {"properties":{"a":{"type":"null"}},"required":["a"]},{"properties":{"b":{"type":"null"}},"required":["b"]}]})",
       {R"({"k":1,"a":null})", R"({"k":1,"b":null})"},
       {R"({"k":1})", R"({"a":null})"}},
      {R"({"oneOf":[{"properties":{"kind":{"const":"a"}},"required":["kind"],"type":"object"},
                    {"properties":{"kind":{"const":"b"},"n":{"type":"integer"}},"required":["kind"],"type":"object"}]})",
       {R"({"kind":"a"})", R"({"kind":"b","n":1})"},
       {R"({"kind":"a","n":1})"}},
      {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}}},{"properties":{"b":{"type":"null"}},"required":["b"]}]})",
       {R"({"b":null})", R"({"a":1,"b":null})"},
       {R"({"a":1})"}},
      {R"({"allOf":[{"type":["integer","null"]},{"type":"number"},{"minimum":3}]})",
       {"3"},
       {"2", "null"}},
      {R"({"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},
           "next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"]}}})",
       {R"({"v":1,"next":{"v":2,"next":null}})"},
       {R"({"v":1,"next":{"v":2}})"}},
      {R"({"type":"object","properties":{"p":{"$ref":"#/definitions/q","description":"d"}},"definitions":{"q":{"type":"null"}}})",
       {R"({"p":null})"},
       {R"({"p":1})"}},
      {"true", {"1", "[]", R"({"a":null})"}, {"", "x"}},
  };
  for (const Case& c : cases) {
    const absl::StatusOr<Grammar> grammar = JsonSchemaGrammar(c.schema);
    ASSERT_TRUE(grammar.ok()) << c.schema << ": " << grammar.status();
    for (const auto& text : c.good) EXPECT_TRUE(Matches(grammar, text)) << c.schema << "\n" << text;
    for (const auto& text : c.bad) EXPECT_FALSE(Matches(grammar, text)) << c.schema << "\n" << text;
  }
}

TEST(JsonSchemaTest, IntegersWithinBoundsAndNoOthers) {
  const std::pair<int, int> ranges[] = {{0, 0},    {0, 9},     {3, 7},    {7, 123},   {95, 105},
                                        {-5, 5},   {-120, -7}, {-99, 99}, {10, 1000}, {-1000, -10},
                                        {99, 100}, {-1, 0},    {0, 1050}};
  for (const auto& [low, high] : ranges) {
    const auto grammar = JsonSchemaGrammar(
        absl::StrCat(R"({"type":"integer","minimum":)", low, R"(,"maximum":)", high, "}"));
    ASSERT_TRUE(grammar.ok()) << grammar.status();
    for (int i = -1200; i <= 1200; ++i) {
      ASSERT_EQ(Matches(grammar, absl::StrCat(i)), low <= i && i <= high)
          << i << " in " << low << " to " << high;
    }
    EXPECT_FALSE(Matches(grammar, "-0"));
  }
  const auto open =
      JsonSchemaGrammar(R"({"type":"integer","exclusiveMinimum":3,"exclusiveMaximum":5})");
  for (int i = 0; i < 10; ++i) EXPECT_EQ(Matches(open, absl::StrCat(i)), i == 4);
  const auto above = JsonSchemaGrammar(R"({"type":"integer","minimum":18})");
  EXPECT_TRUE(Matches(above, "18"));
  EXPECT_TRUE(Matches(above, "123456789"));
  EXPECT_FALSE(Matches(above, "17"));
  EXPECT_FALSE(Matches(above, "-18"));
}

TEST(JsonSchemaTest, NumbersWithinBoundsAndNoOthers) {
  struct Bounds {
    const char* schema;
    double low, high;
    bool low_open, high_open;
  };
  const Bounds cases[] = {
      {R"({"type":"number","minimum":0,"maximum":1})", 0, 1, false, false},
      {R"({"type":"number","exclusiveMinimum":0,"maximum":12})", 0, 12, true, false},
      {R"({"type":"number","minimum":-2,"exclusiveMaximum":3})", -2, 3, false, true},
      {R"({"type":"number","exclusiveMinimum":-11,"exclusiveMaximum":-9})", -11, -9, true, true},
  };
  for (const Bounds& c : cases) {
    const auto grammar = JsonSchemaGrammar(c.schema);
    for (int tenths = -150; tenths <= 150; ++tenths) {
      if (tenths == 0) continue;  // "0.0" is not written
      const std::string text =
          absl::StrCat(tenths < 0 ? "-" : "", std::abs(tenths) / 10,
                       tenths % 10 == 0 ? "" : absl::StrCat(".", std::abs(tenths) % 10));
      const double value = tenths / 10.0;
      const bool valid = (c.low_open ? value > c.low : value >= c.low) &&
                         (c.high_open ? value < c.high : value <= c.high);
      EXPECT_EQ(Matches(grammar, text), valid) << c.schema << " " << text;
    }
  }
}

TEST(JsonSchemaTest, SaysWhereASchemaIsWrongOrNotSupported) {
  const std::pair<const char*, const char*> cases[] = {
      {"{", "is not JSON"},
      {"3", "neither an object nor true or false"},
      {R"({"type":"text"})", "at #: unknown type \"text\""},
      {R"({"properties":{"a":{"not":{}}}})",
       "at #/properties/a: the keyword \"not\" is not supported"},
      {R"({"items":{"multipleOf":2}})", "at #/items: the keyword \"multipleOf\""},
      {R"({"$ref":"#/$defs/x"})", "refers to nothing"},
      {R"({"$ref":"http://example.com/s"})", "refers to nothing"},
      {R"({"type":"string","minLength":3,"maxLength":2})", "maxLength is below minLength"},
      {R"({"type":"string","minLength":-1})", "must be a whole number"},
      {R"({"type":"string","pattern":"("})", "at #/pattern: at byte 1"},
      {R"({"type":"string","pattern":"a","maxLength":2})", "not supported"},
      {R"({"type":"number","minimum":0.5})", "must be a whole number"},
      {R"({"type":"array","minItems":2,"maxItems":1})", "no number of items"},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "schemas 0 and 1 may both allow"},
      {R"({"oneOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}],"$defs":{
           "a":{"type":"object","properties":{"k":{"$ref":"#/$defs/a"}},"required":["k"]},
           "b":{"type":"object","properties":{"k":{"$ref":"#/$defs/b"}},"required":["k"]}}})",
       "schemas 0 and 1 may both allow"},
      {R"({"enum":[1],"type":"string"})", "exclude each other"},
      {R"({"properties":[]})", "properties is not an object"},
      {R"({"properties":{"a":5}})", "neither an object"},
      {R"({"required":[1]})", "not a string"},
      {R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})", "cannot be combined"},
      {R"({"allOf":[{"$ref":"#"}]})", "nested more than 64 deep"},
  };
  for (const auto& [schema, problem] : cases) {
    const absl::Status status = JsonSchemaGrammar(schema).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << schema;
    EXPECT_THAT(status.message(), HasSubstr(problem)) << schema;
  }
}

}  // namespace
}  // namespace transmla::grammar
