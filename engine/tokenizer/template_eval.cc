#include "engine/tokenizer/template_eval.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_evaluator.h"
#include "engine/tokenizer/template_format.h"
#include "engine/tokenizer/template_lexer.h"
#include "engine/tokenizer/template_limits.h"

namespace transmla::jinja {
namespace {

// Sets a variable, and puts the old value back in the end.
template <typename T>
class Replaced {
 public:
  Replaced(T& variable, T value) : variable_(variable), old_(std::exchange(variable, value)) {}
  ~Replaced() { variable_ = old_; }
  Replaced(const Replaced&) = delete;
  Replaced& operator=(const Replaced&) = delete;

 private:
  T& variable_;
  T old_;
};

}  // namespace

absl::StatusOr<std::string> Evaluator::Run(const Block& parsed, const Variables& variables) {
  for (const auto& [name, value] : variables) top_.variables[name] = value;
  TextBuilder out(runtime_.budget);
  out_ = &out;
  RETURN_IF_ERROR(Execute(parsed).status());
  return out.Take();
}

absl::Status Evaluator::Enter() {
  RETURN_IF_ERROR(runtime_.budget.Steps(1));
  if (depth_ < kMaxRenderDepth) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "expressions, blocks and macros nest deeper than the limit of ", kMaxRenderDepth));
}

absl::StatusOr<Evaluator::Flow> Evaluator::Execute(const Block& block) {
  for (const Statement& statement : block) {
    ASSIGN_OR_RETURN(const Flow flow, ExecuteStatement(statement));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::ExecuteStatement(const Statement& statement) {
  const absl::Status entered = Enter();
  if (!entered.ok()) {
    Fail(statement.line);
    return entered;
  }
  ++depth_;
  absl::StatusOr<Flow> flow =
      std::visit([this](const auto& node) { return Do(node); }, statement.node);
  --depth_;
  if (!flow.ok()) Fail(statement.line);
  return flow;
}

absl::StatusOr<Value> Evaluator::Capture(const Block& block, Scope& scope) {
  TextBuilder text(runtime_.budget);
  const Replaced<TextBuilder*> output(out_, &text);
  const Replaced<Scope*> inner(scope_, &scope);
  RETURN_IF_ERROR(Execute(block).status());
  return MakeText(text);
}

absl::Status Evaluator::Assign(const std::vector<std::string>& names, const Value& value) {
  if (names.size() == 1) {
    scope_->variables[names[0]] = value;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const ListPtr items, Iterate(value, runtime_.budget));
  if (items->items.size() != names.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot assign ", items->items.size(), " values to ", names.size(), " names"));
  }
  for (size_t i = 0; i < names.size(); ++i) scope_->variables[names[i]] = items->items[i];
  return absl::OkStatus();
}

absl::Status Evaluator::AssignTo(const Target& target, const Value& value) {
  if (target.field.empty()) return Assign(target.names, value);
  const Value object = Lookup(target.names[0]);
  Namespace* fields = object.IfNamespace();
  if (fields == nullptr) {
    return Misuse(object, absl::StrCat("cannot assign attribute on non-namespace object '",
                                       target.names[0], "'"));
  }
  RETURN_IF_ERROR(CheckStorable(value));
  fields->fields[target.field] = value;
  return absl::OkStatus();
}

// What the loop goes through: the condition sees the item, but not the variable `loop` of this
// loop.
absl::StatusOr<ListPtr> Evaluator::ItemsOf(const For& loop) {
  ASSIGN_OR_RETURN(const Value iterable, Evaluate(*loop.iterable));
  ASSIGN_OR_RETURN(ListPtr list, Iterate(iterable, runtime_.budget));
  if (loop.condition == nullptr) return list;
  std::vector<Value> kept;
  for (const Value& item : list->items) {
    Scope scope{scope_, {}};
    const Replaced<Scope*> inner(scope_, &scope);
    RETURN_IF_ERROR(Assign(loop.targets, item));
    ASSIGN_OR_RETURN(const Value keep, Evaluate(*loop.condition));
    if (Truth(keep)) kept.push_back(item);
  }
  ASSIGN_OR_RETURN(const Value filtered, MakeList(std::move(kept), runtime_.budget));
  return filtered.AsList();
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const Text& node) {
  out_->Append(node.text);
  if (!out_->ok()) return out_->status();
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const Print& node) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.value));
  AppendStr(value, *out_);
  if (!out_->ok()) return out_->status();
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const If& node) {
  for (const If::Branch& branch : node.branches) {
    ASSIGN_OR_RETURN(const Value condition, Evaluate(*branch.condition));
    if (Truth(condition)) return Execute(branch.body);
  }
  return Execute(node.otherwise);
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const For& node) {
  ASSIGN_OR_RETURN(const ListPtr items, ItemsOf(node));
  bool any_completed = false;
  for (size_t i = 0; i < items->items.size(); ++i) {
    RETURN_IF_ERROR(runtime_.budget.Steps(1));
    Scope scope{scope_, {}};
    const Replaced<Scope*> inner(scope_, &scope);
    scope.variables["loop"] = Value::Of(std::make_shared<const Loop>(Loop{items, i}));
    RETURN_IF_ERROR(Assign(node.targets, items->items[i]));
    ASSIGN_OR_RETURN(const Flow flow, Execute(node.body));
    if (flow == Flow::kBreak) break;
    any_completed = any_completed || flow == Flow::kNext;
  }
  // Jinja's rule: also if each pass was left early.
  if (any_completed) return Flow::kNext;
  Scope scope{scope_, {}};
  const Replaced<Scope*> inner(scope_, &scope);
  return Execute(node.otherwise);
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const Set& node) {
  ASSIGN_OR_RETURN(const Value value, Evaluate(*node.value));
  RETURN_IF_ERROR(AssignTo(node.target, value));
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const SetBlock& node) {
  Scope scope{scope_, {}};
  ASSIGN_OR_RETURN(Value text, Capture(node.body, scope));
  for (const FilterUse& filter : node.filters) {
    ASSIGN_OR_RETURN(text, ApplyFilter(filter, text));
  }
  RETURN_IF_ERROR(AssignTo(node.target, text));
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const FilterBlock& node) {
  Scope scope{scope_, {}};
  ASSIGN_OR_RETURN(Value text, Capture(node.body, scope));
  for (const FilterUse& filter : node.filters) {
    ASSIGN_OR_RETURN(text, ApplyFilter(filter, text));
  }
  AppendStr(text, *out_);
  if (!out_->ok()) return out_->status();
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const Macro& node) {
  scope_->variables[node.name] =
      Value::Of(std::make_shared<const Callable>(Callable{node.name, nullptr, Value(), &node}));
  return Flow::kNext;
}

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const Group& node) { return Execute(node.body); }

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const Break&) { return Flow::kBreak; }

absl::StatusOr<Evaluator::Flow> Evaluator::Do(const Continue&) { return Flow::kContinue; }

// Arguments by position and by name; defaults are evaluated in the macro's own scope.
absl::Status Evaluator::BindParameters(const Macro& macro, const Arguments& arguments,
                                       Scope& scope) {
  std::vector<std::string> names;
  for (const Macro::Parameter& parameter : macro.parameters) names.push_back(parameter.name);
  if (arguments.positional.size() > names.size()) {
    return absl::InvalidArgumentError(absl::StrCat("macro '", macro.name, "' takes not more than ",
                                                   names.size(), " argument(s)"));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    scope.variables[names[i]] = arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.keyword) {
    const bool known = std::find(names.begin(), names.end(), name) != names.end();
    if (!known || scope.variables.contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("macro '", macro.name, "' ",
                       known ? "is given twice its argument '" : "takes no argument '", name, "'"));
    }
    scope.variables[name] = value;
  }
  const Replaced<Scope*> inner(scope_, &scope);
  for (const Macro::Parameter& parameter : macro.parameters) {
    if (scope.variables.contains(parameter.name)) continue;
    Value value =
        Value::Undefined(absl::StrCat("parameter '", parameter.name, "' was not provided"));
    if (parameter.otherwise != nullptr) {
      ASSIGN_OR_RETURN(value, Evaluate(*parameter.otherwise));
    }
    scope.variables[parameter.name] = std::move(value);
  }
  return absl::OkStatus();
}

// A macro sees the template's own variables, not those of whoever calls it.
absl::StatusOr<Value> Evaluator::CallMacro(const Macro& macro, const Arguments& arguments) {
  Scope scope{&top_, {}};
  RETURN_IF_ERROR(BindParameters(macro, arguments, scope));
  return Capture(macro.body, scope);
}

absl::StatusOr<std::string> RenderTemplate(const Block& parsed, const Variables& variables,
                                           Runtime& runtime) {
  Evaluator evaluator(runtime);
  absl::StatusOr<std::string> output = evaluator.Run(parsed, variables);
  if (output.ok()) return output;
  if (runtime.refused) {
    return absl::InvalidArgumentError(
        absl::StrCat("the chat template refuses the conversation: ", output.status().message()));
  }
  return TemplateError(evaluator.error_line(), output.status().message());
}

}  // namespace transmla::jinja
