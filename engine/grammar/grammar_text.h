// Grammars in text form: GBNF, the notation of llama.cpp (its grammars/README.md is the reference).
//
//   root   ::= greeting ", " name "!"?      # the whole text
//   greeting ::= "Hello" | "Good " ("day" | "evening")
//   name   ::= [A-Z] [a-z]{1,20}
//
// Literals "…" and classes […] know the escapes \n \r \t \\ \" \] \- \^ \[ \xHH \uHHHH \UHHHHHHHH;
// . is any character; * + ? {n} {n,} {n,m} repeat. An alternative may go on in the next line inside
// parentheses, and behind or before a |.
#ifndef TRANSMLA_ENGINE_GRAMMAR_GRAMMAR_TEXT_H_
#define TRANSMLA_ENGINE_GRAMMAR_GRAMMAR_TEXT_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/grammar/grammar.h"

namespace transmla::grammar {

// InvalidArgument with the position of a mistake, or the name of a rule that is missing, defined
// twice, or not "root" where that is needed.
absl::StatusOr<Grammar> ParseGrammarText(absl::string_view text);

}  // namespace transmla::grammar

#endif  // TRANSMLA_ENGINE_GRAMMAR_GRAMMAR_TEXT_H_
