#include "engine/tokenizer/template_text_methods.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "engine/base/status.h"
#include "engine/tokenizer/template_operators.h"
#include "engine/tokenizer/template_text.h"

namespace transmla::jinja {
namespace {

absl::StatusOr<Value> StripSide(Runtime& runtime, const Value& input, const Arguments& arguments,
                                Side side) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("strip", arguments, {"chars"}));
  ASSIGN_OR_RETURN(const absl::string_view set, bound.Text(0, ""));
  const std::string& text = *input.IfText();
  if (!bound.Given(0) || bound[0].IsNone()) {
    RETURN_IF_ERROR(runtime.budget.Read(text.size()));
    return MakeText(StripSpace(text, side), runtime.budget);
  }
  RETURN_IF_ERROR(runtime.budget.Read(text.size() * (set.size() + 1)));  // each in turn
  return MakeText(Strip(text, set, side), runtime.budget);
}

absl::StatusOr<Value> LeftStrip(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return StripSide(runtime, input, arguments, Side::kLeft);
}

absl::StatusOr<Value> RightStrip(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return StripSide(runtime, input, arguments, Side::kRight);
}

absl::StatusOr<Value> TextList(const std::vector<absl::string_view>& pieces, Budget& budget) {
  std::vector<Value> items;
  for (const absl::string_view piece : pieces) {
    // A text of its own takes some 64 bytes beside its characters.
    RETURN_IF_ERROR(budget.Write(64 + piece.size()));
    items.push_back(Value::Text(std::string(piece)));
  }
  return MakeList(std::move(items), budget);
}

absl::StatusOr<Value> SplitFrom(Runtime& runtime, const Value& input, const Arguments& arguments,
                                bool from_right) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("split", arguments, {"sep", "maxsplit"}));
  ASSIGN_OR_RETURN(const absl::string_view separator, bound.Text(0, ""));
  ASSIGN_OR_RETURN(const int64_t max_splits, bound.Int(1, -1));
  const std::string& text = *input.IfText();
  // Positions and views of at most one piece a byte.
  RETURN_IF_ERROR(runtime.budget.Write(text.size()));
  if (!bound.Given(0) || bound[0].IsNone()) {
    if (from_right && max_splits >= 0) {
      return absl::InvalidArgumentError("rsplit needs a separator where it has a limit");
    }
    return TextList(SplitSpace(text, max_splits), runtime.budget);
  }
  if (separator.empty()) return absl::InvalidArgumentError("empty separator");
  return TextList(SplitAt(text, separator, max_splits, from_right), runtime.budget);
}

absl::StatusOr<Value> Split(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return SplitFrom(runtime, input, arguments, /*from_right=*/false);
}

absl::StatusOr<Value> RightSplit(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return SplitFrom(runtime, input, arguments, /*from_right=*/true);
}

absl::StatusOr<Value> Lines(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("splitlines", arguments, {}).status());
  RETURN_IF_ERROR(runtime.budget.Write(input.IfText()->size()));
  return TextList(SplitLines(*input.IfText()), runtime.budget);
}

using Affix = bool (*)(absl::string_view, absl::string_view) noexcept;

// startswith and endswith: one text, or a tuple of which any will do.
absl::StatusOr<Value> HasAffix(Runtime& runtime, const Value& input, const Arguments& arguments,
                               Affix has) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("startswith or endswith", arguments, {"affix"}, 1));
  std::vector<Value> affixes = {bound[0]};
  if (const List* list = bound[0].IfList(); list != nullptr && list->is_tuple) {
    affixes = list->items;
  }
  bool any = false;
  for (const Value& affix : affixes) {
    if (affix.IfText() == nullptr) {
      return Misuse(affix,
                    absl::StrCat("startswith or endswith needs a text, not a ", affix.TypeName()));
    }
    RETURN_IF_ERROR(runtime.budget.Read(affix.IfText()->size()));
    RETURN_IF_ERROR(runtime.budget.Steps(1));
    any = any || has(*input.IfText(), *affix.IfText());
  }
  return Value::Bool(any);
}

absl::StatusOr<Value> StartsWith(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return HasAffix(runtime, input, arguments, absl::StartsWith);
}

absl::StatusOr<Value> EndsWith(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return HasAffix(runtime, input, arguments, absl::EndsWith);
}

absl::StatusOr<Value> RemovePrefix(Runtime& runtime, const Value& input,
                                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("removeprefix", arguments, {"prefix"}, 1));
  ASSIGN_OR_RETURN(const absl::string_view prefix, bound.Text(0, ""));
  return MakeText(absl::StripPrefix(*input.IfText(), prefix), runtime.budget);
}

absl::StatusOr<Value> RemoveSuffix(Runtime& runtime, const Value& input,
                                   const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("removesuffix", arguments, {"suffix"}, 1));
  ASSIGN_OR_RETURN(const absl::string_view suffix, bound.Text(0, ""));
  return MakeText(absl::StripSuffix(*input.IfText(), suffix), runtime.budget);
}

using Finder = size_t (*)(absl::string_view text, absl::string_view piece);

absl::StatusOr<Value> FindBy(Runtime& runtime, const Value& input, const Arguments& arguments,
                             Finder finder) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("find", arguments, {"sub"}, 1));
  ASSIGN_OR_RETURN(const absl::string_view piece, bound.Text(0, ""));
  const std::string& text = *input.IfText();
  RETURN_IF_ERROR(runtime.budget.Write(text.size() + piece.size()));
  const size_t at = finder(text, piece);
  if (at == absl::string_view::npos) return Value::Int(-1);
  return Value::Int(CountCodePoints(absl::string_view(text).substr(0, at)));
}

absl::StatusOr<Value> Find(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return FindBy(runtime, input, arguments, [](absl::string_view text, absl::string_view piece) {
    return FindText(text, piece);
  });
}

absl::StatusOr<Value> RightFind(Runtime& runtime, const Value& input, const Arguments& arguments) {
  return FindBy(runtime, input, arguments, FindLastText);
}

absl::StatusOr<Value> Count(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("count", arguments, {"sub"}, 1));
  ASSIGN_OR_RETURN(const absl::string_view piece, bound.Text(0, ""));
  const std::string& text = *input.IfText();
  RETURN_IF_ERROR(runtime.budget.Write(text.size()));
  if (piece.empty()) return Value::Int(CountCodePoints(text) + 1);
  return Value::Int(SplitAt(text, piece, -1, /*from_right=*/false).size() - 1);
}

absl::StatusOr<Value> Join(Runtime& runtime, const Value& input, const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("join", arguments, {"iterable"}, 1));
  ASSIGN_OR_RETURN(const ListPtr list, Iterate(bound[0], runtime.budget));
  TextBuilder out(runtime.budget);
  for (size_t i = 0; i < list->items.size() && out.ok(); ++i) {
    const std::string* item = list->items[i].IfText();
    if (item == nullptr) {
      return Misuse(list->items[i], absl::StrCat("sequence item ", i, ": expected str instance, ",
                                                 list->items[i].TypeName(), " found"));
    }
    if (i > 0) out.Append(*input.IfText());
    out.Append(*item);
  }
  return MakeText(out);
}

template <std::string (*Function)(absl::string_view)>
absl::StatusOr<Value> Mapped(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("the method", arguments, {}).status());
  RETURN_IF_ERROR(runtime.budget.Read(input.IfText()->size()));
  return MakeText(Function(*input.IfText()), runtime.budget);
}

template <bool (*Function)(absl::string_view)>
absl::StatusOr<Value> Asked(Runtime& runtime, const Value& input, const Arguments& arguments) {
  RETURN_IF_ERROR(Bind("the method", arguments, {}).status());
  RETURN_IF_ERROR(runtime.budget.Read(input.IfText()->size()));
  return Value::Bool(Function(*input.IfText()));
}

}  // namespace

absl::StatusOr<Value> StripMethod(Runtime& runtime, const Value& input,
                                  const Arguments& arguments) {
  return StripSide(runtime, input, arguments, Side::kBoth);
}

absl::StatusOr<Value> ReplaceMethod(Runtime& runtime, const Value& input,
                                    const Arguments& arguments) {
  ASSIGN_OR_RETURN(const Bound bound, Bind("replace", arguments, {"old", "new", "count"}, 2));
  ASSIGN_OR_RETURN(const absl::string_view old, bound.Text(0, ""));
  ASSIGN_OR_RETURN(const absl::string_view replacement, bound.Text(1, ""));
  ASSIGN_OR_RETURN(const int64_t count, bound.Int(2, -1));
  const std::string& text = *input.IfText();
  if (old.empty()) return absl::InvalidArgumentError("replace: the text to replace is empty");
  RETURN_IF_ERROR(runtime.budget.Write(text.size()));
  TextBuilder out(runtime.budget);
  const std::vector<absl::string_view> pieces = SplitAt(text, old, count, /*from_right=*/false);
  for (size_t i = 0; i < pieces.size() && out.ok(); ++i) {
    if (i > 0) out.Append(replacement);
    out.Append(pieces[i]);
  }
  return MakeText(out);
}

Builtin FindTextMethod(absl::string_view name) {
  static const auto* const kMethods = new absl::flat_hash_map<absl::string_view, Builtin>({
      {"capitalize", Mapped<Capitalize>},
      {"count", Count},
      {"endswith", EndsWith},
      {"find", Find},
      {"islower", Asked<IsLower>},
      {"isupper", Asked<IsUpper>},
      {"join", Join},
      {"lower", Mapped<Lower>},
      {"lstrip", LeftStrip},
      {"removeprefix", RemovePrefix},
      {"removesuffix", RemoveSuffix},
      {"replace", ReplaceMethod},
      {"rfind", RightFind},
      {"rsplit", RightSplit},
      {"rstrip", RightStrip},
      {"split", Split},
      {"splitlines", Lines},
      {"startswith", StartsWith},
      {"strip", StripMethod},
      {"title", Mapped<Title>},
      {"upper", Mapped<Upper>},
  });
  const auto found = kMethods->find(name);
  return found == kMethods->end() ? nullptr : found->second;
}

}  // namespace transmla::jinja
