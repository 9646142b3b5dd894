// What a template can call: filters, tests, methods, functions and its own macros.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_CALLABLE_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_CALLABLE_H_

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/base/clock.h"
#include "engine/tokenizer/template_value.h"

namespace transmla::jinja {

struct Macro;  // template_ast.h

// What one rendering shares.
struct Runtime {
  Budget budget;
  const Clock* clock = nullptr;  // not owned; for strftime_now
  bool refused = false;          // the template called raise_exception
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

// `input` is what a filter filters, a test tests, and whose method it is; undefined for functions.
using Builtin = absl::StatusOr<Value> (*)(Runtime& runtime, const Value& input,
                                          const Arguments& arguments);

struct Callable {
  std::string name;
  Builtin function = nullptr;
  Value self;                    // of a method
  const Macro* macro = nullptr;  // instead of function; the template outlives its renderings
};

// Arguments under the names of a builtin's parameters; those not given are undefined.
class Bound {
 public:
  explicit Bound(std::vector<Value> values) : values_(std::move(values)) {}

  const Value& operator[](size_t i) const { return values_[i]; }
  bool Given(size_t i) const { return !values_[i].IsUndefined(); }
  bool Flag(size_t i, bool otherwise) const;
  // InvalidArgument if it is given and neither an integer nor none.
  absl::StatusOr<int64_t> Int(size_t i, int64_t otherwise) const;
  // InvalidArgument if it is given and neither text nor none.
  absl::StatusOr<absl::string_view> Text(size_t i, absl::string_view otherwise) const;

 private:
  std::vector<Value> values_;
};

// InvalidArgument naming `function` if there are too many arguments, one of an unknown name, or one
// given twice; or if one of the first `required` is missing or undefined.
absl::StatusOr<Bound> Bind(absl::string_view function, const Arguments& arguments,
                           std::initializer_list<absl::string_view> parameters,
                           size_t required = 0);

// By name; null if there is none.
Builtin FindFilter(absl::string_view name);
Builtin FindTest(absl::string_view name);
Builtin FindFunction(absl::string_view name);
Builtin FindMethod(const Value& object, absl::string_view name);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_CALLABLE_H_
