#include "engine/base/command_line.h"

#include <map>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"

namespace transmla {
namespace {

using IsKnown = std::function<bool(absl::string_view)>;

absl::CommandLineFlag* FindFlag(absl::string_view name, const IsKnown& is_known) {
  if (is_known && !is_known(absl::StrReplaceAll(name, {{"_", "-"}}))) return nullptr;
  return absl::FindCommandLineFlag(absl::StrReplaceAll(name, {{"-", "_"}}));
}

// The flag that "--noNAME" turns off; null if there is none.
absl::CommandLineFlag* FindNegated(absl::string_view name, const IsKnown& is_known) {
  if (!absl::ConsumePrefix(&name, "no")) return nullptr;
  absl::CommandLineFlag* const flag = FindFlag(name, is_known);
  return flag != nullptr && flag->IsOfType<bool>() ? flag : nullptr;
}

absl::Status Set(absl::CommandLineFlag* flag, absl::string_view name, absl::string_view value) {
  std::string error;
  if (flag->ParseFrom(value, &error)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, " cannot be \"", value, "\"", error.empty() ? "" : ": ", error));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParseFlags(absl::Span<char* const> arguments,
                                                    const IsKnown& is_known) {
  std::vector<std::string> left;
  for (size_t i = 0; i < arguments.size(); ++i) {
    absl::string_view argument = arguments[i];
    if (argument == "--") {
      left.insert(left.end(), arguments.begin() + i + 1, arguments.end());
      break;
    }
    if (!absl::ConsumePrefix(&argument, "--")) {
      left.emplace_back(argument);
      continue;
    }
    const size_t equals = argument.find('=');
    const absl::string_view name = argument.substr(0, equals);
    absl::optional<absl::string_view> value;
    if (equals != absl::string_view::npos) value = argument.substr(equals + 1);

    absl::CommandLineFlag* flag = FindFlag(name, is_known);
    if (flag == nullptr && !value.has_value()) {
      flag = FindNegated(name, is_known);
      if (flag != nullptr) value = "false";
    }
    if (flag == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("there is no flag --", name, "; see --help"));
    }
    if (!value.has_value() && flag->IsOfType<bool>()) value = "true";
    if (!value.has_value()) {
      if (i + 1 == arguments.size()) {
        return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value"));
      }
      value = arguments[++i];
    }
    if (const absl::Status status = Set(flag, name, *value); !status.ok()) return status;
  }
  return left;
}

std::string DescribeFlags(absl::string_view file) {
  std::map<std::string, const absl::CommandLineFlag*> flags;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (!absl::EndsWith(flag->Filename(), file)) continue;
    flags.emplace(absl::StrReplaceAll(name, {{"_", "-"}}), flag);
  }
  std::string text;
  for (const auto& [name, flag] : flags) {
    const std::string value = flag->DefaultValue();
    absl::StrAppend(&text, "  --", name, value.empty() ? "" : absl::StrCat(" (", value, ")"),
                    "\n      ", flag->Help(), "\n");
  }
  return text;
}

}  // namespace transmla
