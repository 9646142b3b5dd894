// Templates that would take the server's time, memory or stack: each ends at a limit, which it
// names.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/tokenizer/template_json.h"
#include "engine/tokenizer/template_limits.h"
#include "engine/tokenizer/template_parser.h"
#include "tests/engine/tokenizer/template/rendering.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;

constexpr int kMany = 20'000;  // levels; far beyond the limits, and enough to overflow a stack

std::string Repeated(absl::string_view piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) absl::StrAppend(&text, piece);
  return text;
}

std::string MessageOf(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(TemplateLimitsTest, TemplateBytes) {
  const std::string largest(static_cast<size_t>(jinja::kMaxTemplateBytes), 'a');
  EXPECT_TRUE(jinja::ParseTemplate(largest).ok());
  EXPECT_THAT(MessageOf(jinja::ParseTemplate(largest + "a").status()),
              HasSubstr("the limit is 262144"));
}

TEST(TemplateLimitsTest, DepthOfTheTree) {
  const std::vector<std::string> sources = {
      absl::StrCat("{{ ", Repeated("(", kMany), "a", Repeated(")", kMany), " }}"),
      absl::StrCat("{{ ", Repeated("[", kMany), Repeated("]", kMany), " }}"),
      absl::StrCat("{{ ", Repeated("{'a':", kMany), "1", Repeated("}", kMany), " }}"),
      absl::StrCat("{{ ", Repeated("not ", kMany), "a }}"),
      absl::StrCat("{{ ", Repeated("- ", kMany), "a }}"),
      absl::StrCat("{{ a", Repeated(" + a", kMany), " }}"),
      absl::StrCat("{{ a", Repeated(" and a", kMany), " }}"),
      absl::StrCat("{{ a", Repeated(".a", kMany), " }}"),
      absl::StrCat("{{ a", Repeated("()", kMany), " }}"),
      absl::StrCat("{{ a", Repeated("[0]", kMany), " }}"),
      absl::StrCat("{{ a", Repeated("[0", kMany), Repeated("]", kMany), " }}"),
      absl::StrCat("{{ a", Repeated("|e", kMany), " }}"),
      absl::StrCat("{{ a", Repeated(" if a else a", kMany), " }}"),
      absl::StrCat("{{ a", Repeated(" if a", kMany), " }}"),
      Repeated("{%if a%}", kMany),
      Repeated("{%for a in a%}", kMany / 2),
  };
  for (const std::string& source : sources) {
    SCOPED_TRACE(source.substr(0, 40));
    EXPECT_THAT(MessageOf(jinja::ParseTemplate(source).status()),
                HasSubstr("deeper than the limit of 128"));
  }
  // What is wide is not deep.
  const std::string wide = absl::StrCat("{{ a", Repeated(" ~ a", kMany), " }}", "{% if a %}",
                                        Repeated("{% elif a %}", 5'000), "{% endif %}");
  EXPECT_TRUE(testing::Render(wide).ok());
}

TEST(TemplateLimitsTest, DepthOfMacros) {
  EXPECT_THAT(
      MessageOf(testing::Render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").status()),
      HasSubstr("nest deeper than the limit of 256"));
  EXPECT_THAT(MessageOf(testing::Render("{% macro m(a=m()) %}{% endmacro %}{{ m() }}").status()),
              HasSubstr("nest deeper than the limit of 256"));
}

TEST(TemplateLimitsTest, DepthOfValues) {
  constexpr absl::string_view kNest =
      "{% set ns = namespace(x=[]) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor %}";
  EXPECT_THAT(MessageOf(testing::Render(kNest).status()), HasSubstr("beyond the limit of 64"));
  jinja::Budget budget;
  const auto json = jinja::ParseJson(Repeated("[", kMany), budget);
  EXPECT_THAT(MessageOf(json.status()), HasSubstr("nested deeper than the limit of 64"));
  const auto fits = jinja::ParseJson(Repeated("[", 64) + Repeated("]", 64), budget);
  EXPECT_TRUE(fits.ok()) << fits.status();
}

TEST(TemplateLimitsTest, Steps) {
  const std::vector<std::string> sources = {
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{% set r = range(100000) %}{% for a in r if a in r %}{% endfor %}",
      "{{ range(100000) | unique | length }}",
      // Two macro calls a level: 2^n of them.
      "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
      // A list that holds itself twice, 60 times over, compared with its like.
      "{% set ns = namespace(x=1, y=1) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
      "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
      // Searching a long text again and again, characters by number, stripping sets.
      "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% if 'b' in s %}{% endif %}{% "
      "endfor %}",
      "{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% set c = s[-1] %}{% endfor %}",
      "{% set s = 'a' * 1000000 %}{{ s.strip(s) }}",
  };
  for (const std::string& source : sources) {
    SCOPED_TRACE(source);
    EXPECT_THAT(MessageOf(testing::Render(source).status()),
                HasSubstr("more than the limit of 10000000 steps"));
  }
}

TEST(TemplateLimitsTest, Bytes) {
  const std::vector<std::string> sources = {
      "{{ 'a' * 1000000000000 }}",
      "{{ 'a' * 18446744073709551615 }}",
      "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}",
      "{% set ns = namespace(s='a') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% "
      "endfor %}",
      "{% for i in range(100000) %}{% for j in range(50) %}aaaaaaaaaaaaaaaa{% endfor %}{% endfor "
      "%}",
      "{% set s = 'a' * 100000 %}{{ s.replace('a', s) }}",
      "{% set s = 'a' * 100000 %}{{ s | join(s) }}",
      "{{ {'a': [1]} | tojson(indent=10000000) }}",
      "{{ 'a\nb\nc' | indent(10000000) }}",
      // A list that holds itself twice, 60 times over, printed.
      "{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor "
      "%}"
      "{{ ns.x }}",
      "{% set ns = namespace(x=1) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor "
      "%}"
      "{{ ns.x | tojson }}",
  };
  for (const std::string& source : sources) {
    SCOPED_TRACE(source);
    EXPECT_THAT(MessageOf(testing::Render(source).status()),
                HasSubstr("a text grows beyond the limit of 16777216 bytes"));
  }
}

TEST(TemplateLimitsTest, BytesInAll) {
  const std::vector<std::string> sources = {
      "{% set s = 'a' * 10000000 %}{% for i in range(1000) %}{% set t = s + 'b' %}{% endfor %}",
      "{{ [1] * 1000000000 }}",
      "{{ ([1] * 1000) * 1000000000 }}",
      "{% set s = 'a' * 10000000 %}{{ s | list }}",
      "{% set s = 'a' * 10000000 %}{{ s.split('a') }}",
      // A macro that keeps a long text at every level.
      "{% macro m() %}{{ 'a' * 10000000 }}{{ m() }}{% endmacro %}{{ m() }}",
  };
  for (const std::string& source : sources) {
    SCOPED_TRACE(source);
    EXPECT_THAT(MessageOf(testing::Render(source).status()),
                HasSubstr("fills more than the limit of 268435456 bytes"));
  }
}

TEST(TemplateLimitsTest, Ranges) {
  EXPECT_TRUE(testing::Render("{{ range(100000) | length }}").ok());
  EXPECT_THAT(MessageOf(testing::Render("{{ range(100001) }}").status()),
              HasSubstr("more than the limit of 100000 items"));
  EXPECT_THAT(MessageOf(testing::Render("{{ range(-9e18 | int, 9e18 | int) }}").status()),
              HasSubstr("more than the limit of 100000 items"));
}

TEST(TemplateLimitsTest, ALongConversationFits) {
  // A thousand turns of 2,000 characters, through the loop of a published template.
  std::string messages = "[";
  for (int i = 0; i < 1000; ++i) {
    absl::StrAppend(&messages, i == 0 ? "" : ",", R"({"role":")", i % 2 == 0 ? "user" : "assistant",
                    R"(","content":")", std::string(2000, 'x'), R"("})");
  }
  const auto output = testing::Render(
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
      "message['content'] | trim "
      "+ '<|im_end|>' + '\n' }}{% endfor %}",
      absl::StrCat("{\"messages\":", messages, "]}"));
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_GT(output->size(), 2'000'000u);
}

}  // namespace
}  // namespace transmla
