// TokenStream: the tokens of a template, one after the other, for the two parsers.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TOKEN_STREAM_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TOKEN_STREAM_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/template_lexer.h"

namespace transmla::jinja {

// Thread-compatible. The last token, kEnd, is never passed.
class TokenStream {
 public:
  // REQUIRES: the last token is kEnd.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  int line() const { return current().line; }

  bool IsOperator(absl::string_view text) const { return current().Is(TokenKind::kOperator, text); }
  bool IsName(absl::string_view text) const { return current().Is(TokenKind::kName, text); }

  // Passes the current token, and returns it.
  Token Pass();
  // Passes the current token if it is that operator or name.
  bool PassOperator(absl::string_view text);
  bool PassName(absl::string_view text);
  // Passes it or fails.
  absl::Status Expect(TokenKind kind);
  absl::Status ExpectOperator(absl::string_view text);
  absl::StatusOr<std::string> ExpectAnyName();

  // "chat template line 3: unexpected '}', expected ')'".
  absl::Status Unexpected(absl::string_view expected) const;

  // Levels of expressions and blocks that are being parsed; Enter fails beyond kMaxTemplateDepth.
  absl::Status Enter();
  void Leave() { --depth_; }

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_TOKEN_STREAM_H_
