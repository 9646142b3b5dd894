// Evaluator: one rendering in progress. Expressions: template_expression_eval.cc; statements:
// template_eval.cc.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EVALUATOR_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EVALUATOR_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/template_ast.h"
#include "engine/tokenizer/template_eval.h"

namespace transmla::jinja {

// Variables of a loop's pass, a macro's call or a block; names not found are looked up in the
// parent.
struct Scope {
  Scope* parent = nullptr;  // outlives the scope
  absl::flat_hash_map<std::string, Value> variables;
};

// Thread-compatible.
class Evaluator {
 public:
  // The runtime outlives the evaluator.
  explicit Evaluator(Runtime& runtime) : runtime_(runtime) {}

  absl::StatusOr<std::string> Run(const Block& parsed, const Variables& variables);
  // Of the innermost expression or statement that failed; 0 if none did.
  int error_line() const { return error_line_; }

 private:
  // What follows a statement: the next one, or what a loop does.
  enum class Flow { kNext, kBreak, kContinue };

  // --- expressions ---
  absl::StatusOr<Value> Evaluate(const Expression& expression);
  // None for a null expression.
  absl::StatusOr<Value> EvaluateOptional(const ExpressionPtr& expression);
  absl::StatusOr<std::vector<Value>> EvaluateAll(const std::vector<ExpressionPtr>& expressions);
  absl::StatusOr<Arguments> EvaluateArguments(const CallArguments& arguments);
  absl::StatusOr<Value> ApplyFilter(const FilterUse& filter, const Value& input);
  absl::StatusOr<Value> CallMacro(const Macro& macro, const Arguments& arguments);
  absl::Status BindParameters(const Macro& macro, const Arguments& arguments, Scope& scope);
  Value Lookup(const std::string& name) const;

  absl::StatusOr<Value> Of(const Literal& node);
  absl::StatusOr<Value> Of(const Name& node);
  absl::StatusOr<Value> Of(const ListLiteral& node);
  absl::StatusOr<Value> Of(const DictLiteral& node);
  absl::StatusOr<Value> Of(const Negation& node);
  absl::StatusOr<Value> Of(const Not& node);
  absl::StatusOr<Value> Of(const Logical& node);
  absl::StatusOr<Value> Of(const Binary& node);
  absl::StatusOr<Value> Of(const Concatenation& node);
  absl::StatusOr<Value> Of(const Comparison& node);
  absl::StatusOr<Value> Of(const Conditional& node);
  absl::StatusOr<Value> Of(const Attribute& node);
  absl::StatusOr<Value> Of(const Subscript& node);
  absl::StatusOr<Value> Of(const Slice& node);
  absl::StatusOr<Value> Of(const Call& node);
  absl::StatusOr<Value> Of(const Filtered& node);
  absl::StatusOr<Value> Of(const Tested& node);

  // --- statements ---
  absl::StatusOr<Flow> Execute(const Block& block);
  absl::StatusOr<Flow> ExecuteStatement(const Statement& statement);
  // The block's text instead of output, with variables of its own.
  absl::StatusOr<Value> Capture(const Block& block, Scope& scope);
  // Gives an item to a loop's or an assignment's names.
  absl::Status Assign(const std::vector<std::string>& names, const Value& value);
  absl::Status AssignTo(const Target& target, const Value& value);
  absl::StatusOr<ListPtr> ItemsOf(const For& loop);

  absl::StatusOr<Flow> Do(const Text& node);
  absl::StatusOr<Flow> Do(const Print& node);
  absl::StatusOr<Flow> Do(const If& node);
  absl::StatusOr<Flow> Do(const For& node);
  absl::StatusOr<Flow> Do(const Set& node);
  absl::StatusOr<Flow> Do(const SetBlock& node);
  absl::StatusOr<Flow> Do(const FilterBlock& node);
  absl::StatusOr<Flow> Do(const Macro& node);
  absl::StatusOr<Flow> Do(const Group& node);
  absl::StatusOr<Flow> Do(const Break& node);
  absl::StatusOr<Flow> Do(const Continue& node);

  absl::Status Enter();
  void Fail(int line) {
    if (error_line_ == 0) error_line_ = line;
  }

  Runtime& runtime_;
  Scope top_;
  Scope* scope_ = &top_;
  TextBuilder* out_ = nullptr;
  int depth_ = 0;  // expressions and statements being evaluated
  int error_line_ = 0;
};

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_EVALUATOR_H_
