// Cuts a chat template into tokens, as Jinja does with trim_blocks and lstrip_blocks.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LEXER_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LEXER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace transmla::jinja {

enum class TokenKind {
  kData,        // text between tags, white space already trimmed
  kPrintBegin,  // {{
  kPrintEnd,    // }}
  kBlockBegin,  // {%
  kBlockEnd,    // %}
  kName,
  kText,     // a string literal; `text` has its escapes replaced
  kInteger,  // digits, perhaps with 0x, 0o or 0b, without underscores
  kFloat,
  kOperator,  // "//", "(", "|", …
  kEnd,       // always the last token
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;
  int line = 1;

  bool Is(TokenKind wanted, absl::string_view wanted_text) const {
    return kind == wanted && text == wanted_text;
  }
};

// "chat template line 7: …", how all errors of templates begin.
absl::Status TemplateError(int line, absl::string_view what);

// Comments are dropped, raw blocks are data, line ends are "\n" and one at the end is dropped.
// REQUIRES: valid UTF-8. InvalidArgument naming the line.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LEXER_H_
