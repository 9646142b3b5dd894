#include "engine/tokenizer/template_ast.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "engine/tokenizer/template_lexer.h"
#include "engine/tokenizer/template_limits.h"

namespace transmla::jinja {
namespace {

// The depth of the deepest expression it was shown.
class Deepest {
 public:
  int depth() const { return depth_; }

  void See(const ExpressionPtr& e) {
    if (e != nullptr) depth_ = std::max(depth_, e->depth);
  }
  void See(const std::vector<ExpressionPtr>& items) {
    for (const ExpressionPtr& item : items) See(item);
  }
  void See(const CallArguments& arguments) {
    See(arguments.positional);
    for (const auto& [name, value] : arguments.keyword) See(value);
  }

  void operator()(const Literal&) {}
  void operator()(const Name&) {}
  void operator()(const ListLiteral& n) { See(n.items); }
  void operator()(const DictLiteral& n) {
    for (const auto& [key, value] : n.entries) {
      See(key);
      See(value);
    }
  }
  void operator()(const Negation& n) { See(n.operand); }
  void operator()(const Not& n) { See(n.operand); }
  void operator()(const Logical& n) { SeeAll(n.left, n.right); }
  void operator()(const Binary& n) { SeeAll(n.left, n.right); }
  void operator()(const Concatenation& n) { See(n.parts); }
  void operator()(const Comparison& n) {
    See(n.first);
    for (const auto& [op, operand] : n.rest) See(operand);
  }
  void operator()(const Conditional& n) { SeeAll(n.condition, n.then, n.otherwise); }
  void operator()(const Attribute& n) { See(n.object); }
  void operator()(const Subscript& n) { SeeAll(n.object, n.index); }
  void operator()(const Slice& n) { SeeAll(n.object, n.begin, n.end, n.step); }
  void operator()(const Call& n) { SeeAll(n.callee, n.arguments); }
  void operator()(const Filtered& n) { SeeAll(n.input, n.filter.arguments); }
  void operator()(const Tested& n) { SeeAll(n.input, n.arguments); }

 private:
  template <typename... Parts>
  void SeeAll(const Parts&... parts) {
    (See(parts), ...);
  }

  int depth_ = 0;
};

}  // namespace

absl::StatusOr<ExpressionPtr> MakeExpression(int line, Expression::Node node) {
  Deepest deepest;
  std::visit(deepest, node);
  const int depth = deepest.depth() + 1;
  if (depth > kMaxTemplateDepth) {
    return TemplateError(
        line, absl::StrCat("an expression nests deeper than the limit of ", kMaxTemplateDepth));
  }
  return std::make_unique<const Expression>(Expression{line, depth, std::move(node)});
}

}  // namespace transmla::jinja
