#include "engine/tokenizer/template_parser.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "engine/tokenizer/template_expression_parser.h"
#include "engine/tokenizer/template_limits.h"

namespace transmla::jinja {
namespace {

class StatementParser {
 public:
  explicit StatementParser(std::vector<Token> tokens)
      : tokens_(std::move(tokens)), expressions_(tokens_) {}

  absl::StatusOr<Block> Run() { return ParseBlock({}); }

 private:
  // A block that is being parsed, for messages and for what is allowed in it.
  struct OpenBlock {
    std::string name;
    int line;
  };

  // Statements up to the end, or to a tag that begins with one of `ends`, of which "{%" is passed
  // then.
  absl::StatusOr<Block> ParseBlock(std::initializer_list<absl::string_view> ends) {
    Block block;
    while (tokens_.current().kind != TokenKind::kEnd) {
      const int line = tokens_.line();
      if (tokens_.current().kind == TokenKind::kData) {
        block.push_back({line, Text{tokens_.Pass().text}});
        continue;
      }
      if (tokens_.current().kind == TokenKind::kPrintBegin) {
        tokens_.Pass();
        ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseTuple(/*with_conditional=*/true));
        RETURN_IF_ERROR(tokens_.Expect(TokenKind::kPrintEnd));
        block.push_back({line, Print{std::move(value)}});
        continue;
      }
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockBegin));
      if (tokens_.current().kind != TokenKind::kName) return tokens_.Unexpected("a statement");
      if (std::find(ends.begin(), ends.end(), tokens_.current().text) != ends.end()) return block;
      ASSIGN_OR_RETURN(Statement::Node node, ParseStatement());
      RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockEnd));
      block.push_back({line, std::move(node)});
    }
    if (open_.empty()) return block;
    return TemplateError(open_.back().line, absl::StrCat("'", open_.back().name,
                                                         "' has no end: the template ends "
                                                         "before '",
                                                         *(ends.end() - 1), "'"));
  }

  absl::StatusOr<Statement::Node> ParseStatement() {
    open_.push_back({tokens_.current().text, tokens_.line()});
    RETURN_IF_ERROR(tokens_.Enter());
    absl::StatusOr<Statement::Node> node = Dispatch();
    tokens_.Leave();
    open_.pop_back();
    return node;
  }

  absl::StatusOr<Statement::Node> Dispatch() {
    if (tokens_.PassName("if")) return ParseIf();
    if (tokens_.PassName("for")) return ParseFor();
    if (tokens_.PassName("set")) return ParseSet();
    if (tokens_.PassName("macro")) return ParseMacro();
    if (tokens_.PassName("filter")) return ParseFilter();
    if (tokens_.PassName("generation")) {
      ASSIGN_OR_RETURN(Block body, ParseBody({"endgeneration"}));
      return EndWith(Group{std::move(body)});
    }
    const bool breaks = tokens_.IsName("break");
    if (breaks || tokens_.IsName("continue")) {
      if (!InLoop()) {
        return TemplateError(tokens_.line(),
                             absl::StrCat("'", tokens_.current().text, "' outside of a loop"));
      }
      tokens_.Pass();
      if (breaks) return Statement::Node(Break{});
      return Statement::Node(Continue{});
    }
    return UnknownStatement();
  }

  // The tag's end, then a block, then "{%" and one of `ends`, which is the current token
  // afterwards.
  absl::StatusOr<Block> ParseBody(std::initializer_list<absl::string_view> ends) {
    RETURN_IF_ERROR(tokens_.Expect(TokenKind::kBlockEnd));
    return ParseBlock(ends);
  }

  // Passes the name of the end tag.
  Statement::Node EndWith(Statement::Node node) {
    tokens_.Pass();
    return node;
  }

  absl::StatusOr<Statement::Node> ParseIf() {
    If node;
    do {
      If::Branch branch;
      ASSIGN_OR_RETURN(branch.condition, expressions_.ParseTuple(/*with_conditional=*/true));
      ASSIGN_OR_RETURN(branch.body, ParseBody({"elif", "else", "endif"}));
      node.branches.push_back(std::move(branch));
    } while (tokens_.PassName("elif"));
    if (tokens_.PassName("else")) {
      ASSIGN_OR_RETURN(node.otherwise, ParseBody({"endif"}));
    }
    return EndWith(std::move(node));
  }

  absl::StatusOr<Statement::Node> ParseFor() {
    For node;
    ASSIGN_OR_RETURN(node.targets, ParseNames());
    if (!tokens_.PassName("in")) return tokens_.Unexpected("'in'");
    ASSIGN_OR_RETURN(node.iterable, expressions_.ParseTuple(/*with_conditional=*/false));
    if (tokens_.PassName("if")) {
      ASSIGN_OR_RETURN(node.condition, expressions_.ParseExpression());
    }
    if (tokens_.IsName("recursive")) {
      return TemplateError(tokens_.line(), "recursive loops are not supported");
    }
    ASSIGN_OR_RETURN(node.body, ParseBody({"else", "endfor"}));
    if (tokens_.PassName("else")) {
      open_.back().name = "else";  // break belongs to an outer loop here
      ASSIGN_OR_RETURN(node.otherwise, ParseBody({"endfor"}));
    }
    return EndWith(std::move(node));
  }

  // name, or name, name, … perhaps in parentheses.
  absl::StatusOr<std::vector<std::string>> ParseNames() {
    std::vector<std::string> names;
    const bool parenthesised = tokens_.PassOperator("(");
    do {
      ASSIGN_OR_RETURN(std::string name, tokens_.ExpectAnyName());
      static constexpr absl::string_view kConstants[] = {"true", "false", "none",
                                                         "True", "False", "None"};
      if (std::find(std::begin(kConstants), std::end(kConstants), name) != std::end(kConstants)) {
        return TemplateError(tokens_.line(), absl::StrCat("can't assign to '", name, "'"));
      }
      names.push_back(std::move(name));
    } while (tokens_.PassOperator(","));
    if (parenthesised) RETURN_IF_ERROR(tokens_.ExpectOperator(")"));
    return names;
  }

  absl::StatusOr<Statement::Node> ParseSet() {
    Target target;
    ASSIGN_OR_RETURN(target.names, ParseNames());
    if (target.names.size() == 1 && tokens_.PassOperator(".")) {
      ASSIGN_OR_RETURN(target.field, tokens_.ExpectAnyName());
    }
    if (tokens_.PassOperator("=")) {
      ASSIGN_OR_RETURN(ExpressionPtr value, expressions_.ParseTuple(/*with_conditional=*/true));
      return Statement::Node(Set{std::move(target), std::move(value)});
    }
    if (target.names.size() > 1) return tokens_.Unexpected("'='");
    SetBlock node;
    node.target = std::move(target);
    if (tokens_.PassOperator("|")) {
      ASSIGN_OR_RETURN(node.filters, expressions_.ParseFilterChain());
    }
    ASSIGN_OR_RETURN(node.body, ParseBody({"endset"}));
    return EndWith(std::move(node));
  }

  absl::StatusOr<Statement::Node> ParseFilter() {
    FilterBlock node;
    ASSIGN_OR_RETURN(node.filters, expressions_.ParseFilterChain());
    ASSIGN_OR_RETURN(node.body, ParseBody({"endfilter"}));
    return EndWith(std::move(node));
  }

  absl::StatusOr<Statement::Node> ParseMacro() {
    for (size_t i = 0; i + 1 < open_.size(); ++i) {
      if (open_[i].name == "if") continue;
      return TemplateError(
          tokens_.line(), absl::StrCat("a macro inside of '", open_[i].name, "' is not supported"));
    }
    Macro macro;
    ASSIGN_OR_RETURN(macro.name, tokens_.ExpectAnyName());
    RETURN_IF_ERROR(tokens_.ExpectOperator("("));
    while (!tokens_.PassOperator(")")) {
      if (!macro.parameters.empty()) RETURN_IF_ERROR(tokens_.ExpectOperator(","));
      Macro::Parameter parameter;
      ASSIGN_OR_RETURN(parameter.name, tokens_.ExpectAnyName());
      if (tokens_.PassOperator("=")) {
        ASSIGN_OR_RETURN(parameter.otherwise, expressions_.ParseExpression());
      } else if (!macro.parameters.empty() && macro.parameters.back().otherwise != nullptr) {
        return TemplateError(tokens_.line(), "a parameter without a default follows one with it");
      }
      macro.parameters.push_back(std::move(parameter));
    }
    ASSIGN_OR_RETURN(macro.body, ParseBody({"endmacro"}));
    return EndWith(std::move(macro));
  }

  // Whether break and continue have a loop here; not one around a block whose text is kept.
  bool InLoop() const {
    for (auto block = open_.rbegin(); block != open_.rend(); ++block) {
      if (block->name == "for") return true;
      if (block->name == "macro" || block->name == "set" || block->name == "filter") return false;
    }
    return false;
  }

  // REQUIRES: open_ ends with the statement itself.
  absl::Status UnknownStatement() const {
    static constexpr absl::string_view kOfJinja[] = {"autoescape", "block",   "call",  "debug",
                                                     "do",         "extends", "from",  "import",
                                                     "include",    "print",   "trans", "with"};
    const std::string& name = tokens_.current().text;
    const bool known =
        std::find(std::begin(kOfJinja), std::end(kOfJinja), name) != std::end(kOfJinja);
    const std::string what = known ? absl::StrCat("the statement '", name, "' is not supported")
                                   : absl::StrCat("unknown statement '", name.substr(0, 64), "'");
    if (open_.size() == 1) return TemplateError(tokens_.line(), what);
    const OpenBlock& around = open_[open_.size() - 2];
    return TemplateError(tokens_.line(), absl::StrCat(what, "; the innermost open block is '",
                                                      around.name, "' of line ", around.line));
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  std::vector<OpenBlock> open_;
};

}  // namespace

absl::StatusOr<Block> ParseTemplate(absl::string_view source) {
  if (static_cast<int64_t>(source.size()) > kMaxTemplateBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the chat template has ", source.size(),
                                                   " bytes; the limit is ", kMaxTemplateBytes));
  }
  ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(ReplaceInvalidUtf8(source)));
  return StatementParser(std::move(tokens)).Run();
}

}  // namespace transmla::jinja
