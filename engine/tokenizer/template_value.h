// Value: what a template computes with, Python's values as far as templates use them.
//
// Values are immutable, namespaces and the loop variable excepted, and cheap to copy: texts, lists
// and objects are shared. Text is valid UTF-8 always. A namespace, a loop variable or a function
// cannot be put into a list, an object or a namespace, so values form no cycles and destroying one
// nests no deeper than kMaxValueDepth.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_VALUE_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_VALUE_H_

#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/numeric/int128.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/tokenizer/template_budget.h"

namespace transmla::jinja {

struct List;
class Dict;
struct Namespace;
struct Loop;
struct Callable;

// Between -2^63 and 2^64 - 1, what JSON libraries read; see MakeInteger in template_operators.h.
using Integer = absl::int128;
using TextPtr = std::shared_ptr<const std::string>;
using ListPtr = std::shared_ptr<const List>;

class Value {
 public:
  // Undefined, for want of an argument.
  Value() = default;
  // Using it but for printing and testing fails with `reason`: "'x' is undefined".
  static Value Undefined(std::string reason);
  static Value None() { return Value(NoneTag{}); }
  static Value Bool(bool value) { return Value(value); }
  static Value Int(Integer value) { return Value(value); }
  static Value Float(double value) { return Value(value); }
  // REQUIRES: valid UTF-8.
  static Value Text(std::string text) {
    return Value(std::make_shared<const std::string>(std::move(text)));
  }
  static Value Text(TextPtr text) { return Value(std::move(text)); }
  static Value Of(ListPtr list) { return Value(std::move(list)); }
  static Value Of(std::shared_ptr<const Dict> dict) { return Value(std::move(dict)); }
  static Value Of(std::shared_ptr<Namespace> fields) { return Value(std::move(fields)); }
  static Value Of(std::shared_ptr<const Loop> loop) { return Value(std::move(loop)); }
  static Value Of(std::shared_ptr<const Callable> function) { return Value(std::move(function)); }

  bool IsUndefined() const { return std::holds_alternative<UndefinedTag>(data_); }
  bool IsNone() const { return std::holds_alternative<NoneTag>(data_); }
  bool IsNumber() const { return IfBool() || IfInt() || IfFloat(); }

  // Null unless the value is of that kind.
  const bool* IfBool() const { return std::get_if<bool>(&data_); }
  const Integer* IfInt() const { return std::get_if<Integer>(&data_); }
  const double* IfFloat() const { return std::get_if<double>(&data_); }
  const std::string* IfText() const { return Target<TextPtr>(); }
  const List* IfList() const { return Target<ListPtr>(); }  // lists and tuples
  const Dict* IfDict() const { return Target<std::shared_ptr<const Dict>>(); }
  Namespace* IfNamespace() const { return Target<std::shared_ptr<Namespace>>(); }
  const Loop* IfLoop() const { return Target<std::shared_ptr<const Loop>>(); }
  const Callable* IfCallable() const { return Target<std::shared_ptr<const Callable>>(); }

  // The shared list. REQUIRES: IfList().
  const ListPtr& AsList() const { return std::get<ListPtr>(data_); }

  // Why an undefined value is so. REQUIRES: IsUndefined().
  absl::string_view reason() const;
  // As Python calls the kind: "str", "NoneType".
  absl::string_view TypeName() const;
  // Lists and objects inside each other; 0 for what is neither.
  int depth() const;

 private:
  struct UndefinedTag {
    TextPtr reason;
  };
  struct NoneTag {};

  template <typename T>
  explicit Value(T data) : data_(std::move(data)) {}

  template <typename Pointer>
  typename Pointer::element_type* Target() const {
    const Pointer* pointer = std::get_if<Pointer>(&data_);
    return pointer == nullptr ? nullptr : pointer->get();
  }

  std::variant<UndefinedTag, NoneTag, bool, Integer, double, TextPtr, ListPtr,
               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>, std::shared_ptr<const Loop>,
               std::shared_ptr<const Callable>>
      data_;
};

struct List {
  std::vector<Value> items;
  bool is_tuple = false;  // differs in how it prints, and never equals a list
  int depth = 1;
};

// Keys are texts, in the order in which they came.
class Dict {
 public:
  struct Entry {
    TextPtr key;
    Value value;
  };
  const std::vector<Entry>& entries() const { return entries_; }
  // Null if there is none. O(1).
  const Value* Find(absl::string_view key) const;
  int depth() const { return depth_; }

  // For those who build it, before it is shared. Replaces the value of a key that is there.
  // InvalidArgument if the value cannot be stored or is too deep.
  absl::Status Set(TextPtr key, Value value, Budget& budget);
  absl::Status Set(absl::string_view key, Value value, Budget& budget) {
    return Set(std::make_shared<const std::string>(key), std::move(value), budget);
  }

 private:
  size_t IndexOf(absl::string_view key) const;  // entries_.size() if there is none

  std::vector<Entry> entries_;
  absl::flat_hash_map<absl::string_view, size_t> index_;  // kept for more than kLinear entries
  int depth_ = 1;

  static constexpr size_t kLinear = 8;
};

// namespace(): the one thing that statements change.
struct Namespace {
  absl::flat_hash_map<std::string, Value> fields;
};

// The variable `loop`.
struct Loop {
  ListPtr items;
  size_t index = 0;  // of the current item, from 0
};

// InvalidArgument for what must not be stored (see above).
absl::Status CheckStorable(const Value& value);

// InvalidArgument if an item cannot be stored or is too deep.
absl::StatusOr<Value> MakeList(std::vector<Value> items, Budget& budget);
absl::StatusOr<Value> MakeTuple(std::vector<Value> items, Budget& budget);
// InvalidArgument if the text is too long.
absl::StatusOr<Value> MakeText(absl::string_view text, Budget& budget);
// What the builder holds, or its failure.
absl::StatusOr<Value> MakeText(TextBuilder& builder);

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_VALUE_H_
