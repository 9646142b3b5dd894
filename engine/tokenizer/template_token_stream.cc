#include "engine/tokenizer/template_token_stream.h"

#include "absl/strings/str_cat.h"

#include "engine/tokenizer/template_limits.h"

namespace transmla::jinja {
namespace {

std::string Describe(TokenKind kind, absl::string_view text) {
  switch (kind) {
    case TokenKind::kData:
      return "text outside of tags";
    case TokenKind::kPrintBegin:
      return "'{{'";
    case TokenKind::kPrintEnd:
      return "'}}'";
    case TokenKind::kBlockBegin:
      return "'{%'";
    case TokenKind::kBlockEnd:
      return "'%}'";
    case TokenKind::kEnd:
      return "the end of the template";
    case TokenKind::kText:
      return "a text";
    default:
      return absl::StrCat("'", text.substr(0, 64), "'");
  }
}

}  // namespace

Token TokenStream::Pass() {
  if (current().kind == TokenKind::kEnd) return current();
  return std::move(tokens_[at_++]);
}

bool TokenStream::PassOperator(absl::string_view text) {
  if (!IsOperator(text)) return false;
  Pass();
  return true;
}

bool TokenStream::PassName(absl::string_view text) {
  if (!IsName(text)) return false;
  Pass();
  return true;
}

absl::Status TokenStream::Expect(TokenKind kind) {
  if (current().kind != kind) return Unexpected(Describe(kind, ""));
  Pass();
  return absl::OkStatus();
}

absl::Status TokenStream::ExpectOperator(absl::string_view text) {
  if (PassOperator(text)) return absl::OkStatus();
  return Unexpected(absl::StrCat("'", text, "'"));
}

absl::StatusOr<std::string> TokenStream::ExpectAnyName() {
  if (current().kind != TokenKind::kName) return Unexpected("a name");
  return Pass().text;
}

absl::Status TokenStream::Unexpected(absl::string_view expected) const {
  return TemplateError(line(), absl::StrCat("unexpected ", Describe(current().kind, current().text),
                                            ", expected ", expected));
}

absl::Status TokenStream::Enter() {
  if (++depth_ <= kMaxTemplateDepth) return absl::OkStatus();
  return TemplateError(line(), absl::StrCat("expressions or blocks nest deeper than the limit of ",
                                            kMaxTemplateDepth));
}

}  // namespace transmla::jinja
