// What goes wrong in a template, and that the message says where and what.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/tokenizer/template_parser.h"
#include "tests/engine/tokenizer/template/rendering.h"

namespace transmla {
namespace {

using ::testing::StartsWith;

struct Failure {
  std::string source;
  std::string message;  // how it begins, after "chat template "
};

void ExpectFailure(const Failure& failure, const absl::Status& status) {
  SCOPED_TRACE(failure.source);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), StartsWith("chat template " + failure.message));
}

TEST(TemplateErrorTest, SyntaxErrorsNameTheLine) {
  const std::vector<Failure> failures = {
      {"{{ a", "line 1: a tag has no end '}}'"},
      {"\n\n{% if x", "line 3: a tag has no end '%}'"},
      {"\n{# a comment", "line 2: a comment has no end '#}'"},
      {"a\n{{ 'b }}", "line 2: a text has no closing quote"},
      {"{{ 'a\\", "line 1: a text has no closing quote"},
      {"{{ \n\n a ? b }}", "line 3: unexpected character '?'"},
      {"{{ a\n ! b }}", "line 2: unexpected character '!'"},
      {"{{ (1 }}", "line 1: unexpected '}', expected ')'"},
      {"{{ 1) }}", "line 1: unexpected ')'"},
      {"{{ '\\x4' }}", "line 1: the escape \\x needs 2 hexadecimal digits"},
      {"{{ '\\N{DASH}' }}", "line 1: the escape \\N is not supported"},
      {"{{ 99999999999999999999 }}", "line 1: an integer does not fit into 64 bits"},
      {"{{ 012 }}", "line 1: '012' is no number"},
      {"{{ }}", "line 1: unexpected '}}', expected an expression"},
      {"{{ a b }}", "line 1: unexpected 'b', expected '}}'"},
      {"{{ a.'b' }}", "line 1: unexpected a text, expected a name"},
      {"{{ a[] }}", "line 1: unexpected ']', expected an expression"},
      {"{{ a[1 2] }}", "line 1: unexpected '2', expected ']'"},
      {"{{ a[1:2:3:4] }}", "line 1: unexpected ':', expected ']'"},
      {"{{ [1 2] }}", "line 1: unexpected '2', expected ','"},
      {"{{ {'a' 1} }}", "line 1: unexpected '1', expected ':'"},
      {"{{ f(a=1, 2) }}", "line 1: an argument without a name follows one with a name"},
      {"{{ f(*a) }}", "line 1: arguments from a list or an object"},
      {"{{ f(**a) }}", "line 1: arguments from a list or an object"},
      {"{{ a | }}", "line 1: unexpected '}}', expected a name"},
      {"{{ 1 + not a }}", "line 1: unexpected 'not', expected an expression"},
      {"{{ 1 is odd is even }}", "line 1: unexpected 'is'"},
      {"\n{% %}", "line 2: unexpected '%}', expected a statement"},
      {"\n{% bogus %}", "line 2: unknown statement 'bogus'"},
      {"{% if a %}\n{% bogus %}{% endif %}",
       "line 2: unknown statement 'bogus'; the innermost open block is 'if' of line 1"},
      {"{% endif %}", "line 1: unknown statement 'endif'"},
      {"{% for a in b %}{% endif %}",
       "line 1: unknown statement 'endif'; the innermost open block is 'for' of line 1"},
      {"{% include 'x' %}", "line 1: the statement 'include' is not supported"},
      {"{% extends 'x' %}", "line 1: the statement 'extends' is not supported"},
      {"{% import 'x' as y %}", "line 1: the statement 'import' is not supported"},
      {"{% if %}", "line 1: unexpected '%}', expected an expression"},
      {"\n{% if a %}\n", "line 2: 'if' has no end: the template ends before 'endif'"},
      {"{% if a %}{% else %}", "line 1: 'if' has no end"},
      {"{% if a %}{% else %}{% elif b %}{% endif %}", "line 1: unknown statement 'elif'"},
      {"{% for a in b %}", "line 1: 'for' has no end: the template ends before 'endfor'"},
      {"{% for a of b %}{% endfor %}", "line 1: unexpected 'of', expected 'in'"},
      {"{% for 1 in b %}{% endfor %}", "line 1: unexpected '1', expected a name"},
      {"{% for a in b recursive %}{% endfor %}", "line 1: recursive loops are not supported"},
      {"{% for true in b %}{% endfor %}", "line 1: can't assign to 'true'"},
      {"{% set a %}", "line 1: 'set' has no end"},
      {"{% set a, b %}{% endset %}", "line 1: unexpected '%}', expected '='"},
      {"{% set a.b.c = 1 %}", "line 1: unexpected '.'"},
      {"{% break %}", "line 1: 'break' outside of a loop"},
      {"{% for a in b %}{% else %}{% continue %}{% endfor %}", "line 1: 'continue' outside"},
      {"{% for a in b %}{% set c %}{% break %}{% endset %}{% endfor %}", "line 1: 'break' outside"},
      {"{% macro %}", "line 1: unexpected '%}', expected a name"},
      {"{% macro m(a=1, b) %}{% endmacro %}", "line 1: a parameter without a default"},
      {"{% for a in b %}{% macro m() %}{% endmacro %}{% endfor %}",
       "line 1: a macro inside of 'for' is not supported"},
      {"{% raw %}", "line 1: 'raw' has no 'endraw'"},
  };
  for (const Failure& failure : failures) {
    ExpectFailure(failure, jinja::ParseTemplate(failure.source).status());
  }
}

TEST(TemplateErrorTest, RenderingErrorsNameTheLine) {
  const std::vector<Failure> failures = {
      {"a\n{{ x.y }}", "line 2: 'x' is undefined"},
      {"{% if true %}\n\n{{ 1 +\n none }}{% endif %}",
       "line 3: unsupported operand type(s) for +: 'int' and 'NoneType'"},
      {"{% macro m() %}\n{{ 1 / 0 }}{% endmacro %}\n\n{{ m() }}", "line 2: division by zero"},
      {"\n{{ 'a' | no_such_filter }}", "line 2: No filter named 'no_such_filter'."},
      {"{% filter nope %}{% endfilter %}", "line 1: No filter named 'nope'."},
      {"{{ 1 is no_such_test }}", "line 1: No test named 'no_such_test'."},
      {"{{ no_such_function(1) }}", "line 1: 'no_such_function' is undefined"},
      {"{{ 'a'.no_such_method() }}", "line 1: 'str object' has no attribute 'no_such_method'"},
      {"{{ [1] | map('nope') }}", "line 1: No filter named 'nope'."},
      {"{{ [1] | select('nope') }}", "line 1: No test named 'nope'."},
      {"{{ [1] | map }}", "line 1: map() needs its argument 'attribute'"},
      {"{{ [1] | selectattr }}", "line 1: Missing parameter for attribute name"},
      {"{{ 'a' | upper(1) }}", "line 1: the filter() takes at most 0 arguments but 1 were given"},
      {"{{ 'a' | replace('b') }}", "line 1: replace() needs its argument 'new'"},
      {"{{ 'a' | replace('b', 'c', old='d') }}",
       "line 1: replace() is given its argument 'old' twice"},
      {"{{ 'a' | trim(nope='d') }}", "line 1: strip() has no argument named 'nope'"},
      {"{{ 'a'.split('') }}", "line 1: empty separator"},
      {"{{ 'a'.startswith(1) }}", "line 1: startswith or endswith needs a text, not a int"},
      {"{{ [1][::0] }}", "line 1: slice step cannot be zero"},
      {"{{ [1]['a':] }}", "line 1: an argument is of type 'str', not 'int'"},
      {"{{ {1: 2} }}", "line 1: an object's key must be a text, not a int"},
      {"{{ 18446744073709551615 + 1 }}", "line 1: an integer does not fit into 64 bits"},
      {"{{ 18446744073709551615 * 18446744073709551615 }}", "line 1: an integer does not fit"},
      {"{{ 3 ** 99 }}", "line 1: an integer does not fit into 64 bits"},
      {"{{ 0 ** -1 }}", "line 1: 0 cannot be raised to a negative power"},
      {"{{ 1e300 | int }}", "line 1: a number is too large for an integer"},
      {"{{ 1 // 0 }}{{ 1 % 0 }}", "line 1: division by zero"},
      {"{{ range }}", "line 1: a function cannot be printed"},
      {"{{ [range] }}", "line 1: a function cannot be put into a list"},
      {"{{ dict(a=range) }}", "line 1: a function cannot be put into"},
      {"{% set ns = namespace() %}{% set ns.ns = ns %}", "line 1: a Namespace cannot be put into"},
      {"{% for x in [1] %}{{ [loop] }}{% endfor %}", "line 1: a LoopContext cannot be put into"},
      {"{% set x = 1 %}{% set x.y = 1 %}", "line 1: cannot assign attribute on non-namespace"},
      {"{% set a, b = [1] %}", "line 1: cannot assign 1 values to 2 names"},
      {"{% macro m(a) %}{% endmacro %}{{ m(1, a=2) }}", "line 1: macro 'm' is given twice"},
      {"{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", "line 1: macro 'm' takes no argument 'b'"},
      {"{{ strftime_now('%c') }}", "line 1: strftime_now: the directive '%c' is not supported"},
      {"{{ strftime_now('%') }}", "line 1: strftime_now: the directive '%' is not supported"},
      {"{{ x | tojson }}", "line 1: 'x' is undefined"},
      {"{{ range | tojson }}", "line 1: tojson: an object of type function has no JSON form"},
      {"{{ 1 | tojson(separators=1) }}", "line 1: tojson: separators must be a pair of texts"},
      {"{{ raise_exception() }}", "line 1: raise_exception() needs its argument 'message'"},
  };
  for (const Failure& failure : failures) {
    ExpectFailure(failure, testing::Render(failure.source).status());
  }
}

TEST(TemplateErrorTest, WhatIsNotReachedDoesNotFail) {
  const auto output = testing::Render(
      "{% if false %}{{ 1 | no_such_filter }}{{ 1 is nope }}{{ nope() }}{% endif %}ok");
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(*output, "ok");
}

TEST(TemplateErrorTest, RefusalHasTheTemplatesOwnWords) {
  const auto output = testing::Render("\n{{ raise_exception('roles must ' ~ 'alternate') }}");
  EXPECT_EQ(output.status(),
            absl::InvalidArgumentError("the chat template refuses the conversation: "
                                       "roles must alternate"));
}

}  // namespace
}  // namespace transmla
