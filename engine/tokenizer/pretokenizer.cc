#include "engine/tokenizer/pretokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "engine/tokenizer/json_fields.h"
#include "engine/tokenizer/limits.h"

namespace transmla {

using nlohmann::json;

absl::StatusOr<Pretokenizer> Pretokenizer::FromJson(const std::string& where, const json& section) {
  Pretokenizer made;
  if (!section.is_null()) RETURN_IF_ERROR(made.AddSteps(where, section));
  return made;
}

absl::Status Pretokenizer::AddSteps(const std::string& where, const json& section) {
  if (steps_.size() >= static_cast<size_t>(kMaxPretokenizerSteps)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": more than ", kMaxPretokenizerSteps, " steps"));
  }
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(where, section));
  ASSIGN_OR_RETURN(const std::string type, fields.RequireText("type"));
  if (type == "Split") return AddSplit(where, section);
  if (type == "ByteLevel") return AddByteLevel(where, section);
  if (type == "Digits") return AddDigits(where, section);
  if (type != "Sequence") {
    return absl::UnimplementedError(
        absl::StrCat(fields.Where("type"), " is \"", type,
                     "\"; supported are Sequence, Split, ByteLevel and Digits"));
  }
  ASSIGN_OR_RETURN(const json* parts, fields.RequireArray("pretokenizers"));
  for (size_t i = 0; i < parts->size(); ++i) {
    RETURN_IF_ERROR(AddSteps(absl::StrCat(where, ".pretokenizers[", i, "]"), (*parts)[i]));
  }
  return absl::OkStatus();
}

absl::Status Pretokenizer::AddSplit(const std::string& where, const json& section) {
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(where, section));
  const json* pattern = fields.Find("pattern");
  if (pattern == nullptr) return fields.Invalid("pattern", "is missing");
  ASSIGN_OR_RETURN(const JsonFields pattern_fields,
                   JsonFields::Of(fields.Where("pattern"), *pattern));
  std::string expression;
  if (pattern_fields.Find("String") != nullptr) {
    ASSIGN_OR_RETURN(const std::string text, pattern_fields.RequireText("String"));
    expression = EscapeForRegex(text);
  } else {
    ASSIGN_OR_RETURN(expression, pattern_fields.RequireText("Regex"));
  }
  Step step;
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(fields.Where("pattern"), expression));
  step.regex.push_back(std::move(regex));
  ASSIGN_OR_RETURN(step.invert, fields.Bool("invert", false));
  ASSIGN_OR_RETURN(const std::string behavior, fields.RequireText("behavior"));
  constexpr std::pair<absl::string_view, Behavior> kBehaviors[] = {
      {"Removed", Behavior::kRemoved},
      {"Isolated", Behavior::kIsolated},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous},
  };
  const auto* found = std::find_if(std::begin(kBehaviors), std::end(kBehaviors),
                                   [&](const auto& known) { return known.first == behavior; });
  if (found == std::end(kBehaviors)) {
    return fields.Invalid("behavior", absl::StrCat("is \"", behavior, "\", which is not known"));
  }
  step.behavior = found->second;
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status Pretokenizer::AddByteLevel(const std::string& where, const json& section) {
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(where, section));
  Step step;
  ASSIGN_OR_RETURN(step.add_prefix_space, fields.Bool("add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, fields.Bool("use_regex", true));
  if (use_regex) {
    ASSIGN_OR_RETURN(Regex regex, Regex::Compile(where, kGpt2Pattern));
    step.regex.push_back(std::move(regex));
  }
  byte_level_ = true;
  if (use_regex || step.add_prefix_space) steps_.push_back(std::move(step));
  return absl::OkStatus();
}

absl::Status Pretokenizer::AddDigits(const std::string& where, const json& section) {
  ASSIGN_OR_RETURN(const JsonFields fields, JsonFields::Of(where, section));
  ASSIGN_OR_RETURN(const bool individual, fields.Bool("individual_digits", false));
  Step step;
  ASSIGN_OR_RETURN(Regex regex, Regex::Compile(where, individual ? R"(\p{N})" : R"(\p{N}+)"));
  step.regex.push_back(std::move(regex));
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

std::vector<Pretokenizer::Part> Pretokenizer::Regroup(std::vector<Part> parts, Behavior behavior) {
  if (behavior == Behavior::kIsolated) return parts;
  if (behavior == Behavior::kRemoved) {
    std::erase_if(parts, [](const Part& part) { return part.is_match; });
    return parts;
  }
  const bool backwards = behavior == Behavior::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Part> out;
  bool previous_is_match = false;
  for (const Part& part : parts) {
    const bool joins = behavior == Behavior::kContiguous ? part.is_match == previous_is_match
                                                         : part.is_match && !previous_is_match;
    previous_is_match = part.is_match;
    if (joins && !out.empty()) {
      out.back().begin = std::min(out.back().begin, part.begin);
      out.back().end = std::max(out.back().end, part.end);
    } else {
      out.push_back(part);
    }
  }
  if (backwards) std::reverse(out.begin(), out.end());
  return out;
}

absl::Status Pretokenizer::Apply(const Step& step, absl::string_view piece,
                                 std::vector<absl::string_view>& out) {
  std::vector<Regex::Match> matches;
  RETURN_IF_ERROR(step.regex.front().FindAll(piece, matches));
  std::vector<Part> parts;
  parts.reserve(2 * matches.size() + 1);
  size_t done = 0;
  for (const Regex::Match& match : matches) {
    if (match.begin > done) parts.push_back({done, match.begin, step.invert});
    parts.push_back({match.begin, match.end, !step.invert});
    done = match.end;
  }
  if (done < piece.size()) parts.push_back({done, piece.size(), step.invert});
  for (const Part& part : Regroup(std::move(parts), step.behavior)) {
    if (part.end > part.begin) out.push_back(piece.substr(part.begin, part.end - part.begin));
  }
  return absl::OkStatus();
}

absl::Status Pretokenizer::Split(absl::string_view text, Words& words) const {
  words.pieces.clear();
  words.made.clear();
  if (text.empty()) return absl::OkStatus();
  words.pieces.push_back(text);
  std::vector<absl::string_view> next;
  for (const Step& step : steps_) {
    if (step.add_prefix_space) {
      for (absl::string_view& piece : words.pieces) {
        if (absl::StartsWith(piece, " ")) continue;
        piece = words.made.emplace_back(absl::StrCat(" ", piece));
      }
    }
    if (step.regex.empty()) continue;
    next.clear();
    for (const absl::string_view piece : words.pieces) RETURN_IF_ERROR(Apply(step, piece, next));
    words.pieces.swap(next);
  }
  return absl::OkStatus();
}

}  // namespace transmla
