// Regular expressions, as constraints and as a schema's "pattern".
//
// The syntax that ECMA-262 and PCRE share: characters, ., classes [a-z] [^a-z], escapes \d \D \w \W
// \s \S \n \r \t \f \v \0 \xHH \uHHHH \u{…} \cX and punctuation, groups ( ) (?: ), alternatives |,
// and repetitions * + ? {n} {n,} {n,m}, whose lazy forms allow the same texts. ^ and $ stand at the
// beginning and the end of an alternative. Look-around, back references, \b and flags are not
// supported: they are not about which texts are allowed alone.
#ifndef TRANSMLA_ENGINE_GRAMMAR_REGEX_SYNTAX_H_
#define TRANSMLA_ENGINE_GRAMMAR_REGEX_SYNTAX_H_

#include <functional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/grammar/grammar.h"

namespace transmla::grammar {

struct RegexOptions {
  // How a character of the text is written; Characters() unless given.
  std::function<ExpressionPtr(CharSet)> spell = [](CharSet set) {
    return Characters(std::move(set));
  };
  // Whether the pattern may match anywhere in the text, as a schema's does, or must match all of
  // it.
  bool search = false;
};

// The texts that match. InvalidArgument with the position of what is wrong or not supported.
absl::StatusOr<ExpressionPtr> ParseRegex(absl::string_view pattern, const RegexOptions& options);

// The texts that match as a whole.
absl::StatusOr<Grammar> RegexGrammar(absl::string_view pattern);

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_REGEX_SYNTAX_H_
