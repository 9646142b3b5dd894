// The syntax tree of a chat template. Immutable once parsed.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_AST_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_AST_H_

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/tokenizer/template_callable.h"
#include "engine/tokenizer/template_operators.h"

namespace transmla::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<const Expression>;  // null where a part may be left out

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> keyword;
};

struct Literal {
  Value value;
};
struct Name {
  std::string name;
};
struct ListLiteral {
  std::vector<ExpressionPtr> items;
  bool is_tuple = false;
};
struct DictLiteral {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct Negation {  // -x
  ExpressionPtr operand;
};
struct Not {
  ExpressionPtr operand;
};
struct Logical {  // and, or: the operand that decides
  bool is_and = false;
  ExpressionPtr left, right;
};
struct Binary {
  BinaryOperator op;
  ExpressionPtr left, right;
};
struct Concatenation {  // a ~ b ~ c
  std::vector<ExpressionPtr> parts;
};
struct Comparison {  // a < b < c
  ExpressionPtr first;
  std::vector<std::pair<CompareOperator, ExpressionPtr>> rest;
};
struct Conditional {  // then if condition else otherwise
  ExpressionPtr condition, then, otherwise;
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Subscript {
  ExpressionPtr object, index;
};
struct Slice {
  ExpressionPtr object, begin, end, step;
};
struct Call {
  ExpressionPtr callee;
  CallArguments arguments;
};
struct FilterUse {
  std::string name;
  Builtin function = nullptr;  // null if there is no such filter, an error only where it is used
  CallArguments arguments;
  int line = 0;
};
struct Filtered {
  ExpressionPtr input;
  FilterUse filter;
};
struct Tested {
  ExpressionPtr input;
  std::string name;
  Builtin function = nullptr;  // as above
  CallArguments arguments;
  bool negated = false;
};

struct Expression {
  using Node = std::variant<Literal, Name, ListLiteral, DictLiteral, Negation, Not, Logical, Binary,
                            Concatenation, Comparison, Conditional, Attribute, Subscript, Slice,
                            Call, Filtered, Tested>;
  int line = 0;
  int depth = 1;  // levels of the tree from here down
  Node node;
};

// InvalidArgument naming the line if the tree becomes deeper than kMaxTemplateDepth.
absl::StatusOr<ExpressionPtr> MakeExpression(int line, Expression::Node node);

struct Statement;
using Block = std::vector<Statement>;

struct Text {
  std::string text;
};
struct Print {
  ExpressionPtr value;
};
struct If {
  struct Branch {
    ExpressionPtr condition;
    Block body;
  };
  std::vector<Branch> branches;  // at least one; the first that holds is taken
  Block otherwise;
};
struct For {
  std::vector<std::string> targets;  // several take an item apart
  ExpressionPtr iterable;
  ExpressionPtr condition;  // items for which it fails are left out; may be null
  Block body;
  Block otherwise;  // if there are no items
};
// What `set` sets: names, or a namespace's field.
struct Target {
  std::vector<std::string> names;
  std::string field;  // not empty: of the namespace names[0]
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {
  Target target;
  std::vector<FilterUse> filters;
  Block body;
};
struct FilterBlock {
  std::vector<FilterUse> filters;
  Block body;
};
struct Macro {
  struct Parameter {
    std::string name;
    ExpressionPtr otherwise;  // null if an argument is needed
  };
  std::string name;
  std::vector<Parameter> parameters;
  Block body;
};
struct Group {  // a block that means nothing for rendering
  Block body;
};
struct Break {};
struct Continue {};

struct Statement {
  using Node =
      std::variant<Text, Print, If, For, Set, SetBlock, FilterBlock, Macro, Group, Break, Continue>;
  int line = 0;
  Node node;
};

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_AST_H_
