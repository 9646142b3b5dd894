#include "engine/tokenizer/named_pipelines.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace transmla {
namespace {

using nlohmann::json;

// Llama 3's expression; {1,3} digits are a word.
constexpr absl::string_view kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";
// Qwen2's: every digit is a word.
constexpr absl::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

json ByteLevel(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

json Sequence(std::vector<json> steps) {
  return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}};
}

json SplitThenBytes(absl::string_view pattern) {
  return Sequence({{{"type", "Split"},
                    {"pattern", {{"Regex", std::string(pattern)}}},
                    {"behavior", "Isolated"},
                    {"invert", false}},
                   ByteLevel(false)});
}

NamedPipeline Gpt2() { return {.normalizer = nullptr, .pre_tokenizer = ByteLevel(true)}; }

NamedPipeline Llama3() {
  return {.normalizer = nullptr,
          .pre_tokenizer = SplitThenBytes(kLlama3Pattern),
          .ignore_merges = true,
          .add_bos = true};
}

NamedPipeline Qwen2() {
  return {.normalizer = {{"type", "NFC"}}, .pre_tokenizer = SplitThenBytes(kQwen2Pattern)};
}

NamedPipeline SmolLm() {
  return {.normalizer = nullptr,
          .pre_tokenizer =
              Sequence({{{"type", "Digits"}, {"individual_digits", true}}, ByteLevel(true)})};
}

struct Entry {
  absl::string_view name;
  NamedPipeline (*make)();
};

// Names as llama.cpp's converter writes them.
constexpr Entry kPipelines[] = {
    {"gpt-2", Gpt2},       {"gpt2", Gpt2},     {"llama-bpe", Llama3}, {"llama3", Llama3},
    {"llama-v3", Llama3},  {"qwen2", Qwen2},   {"smollm", SmolLm},    {"deepseek-r1-qwen", Qwen2},
    {"starcoder", SmolLm}, {"refact", SmolLm},
};

// `section` without what changes nothing: a sequence of one step, defaults that are written out,
// and where offsets of tokens begin.
json Plain(json section) {
  if (!section.is_object()) return section;
  for (const char* list : {"pretokenizers", "normalizers"}) {
    const auto steps = section.find(list);
    if (steps == section.end() || !steps->is_array()) continue;
    for (json& step : *steps) step = Plain(std::move(step));
    if (steps->empty()) return nullptr;
    if (steps->size() == 1) return json(steps->front());
  }
  section.erase("trim_offsets");
  const json type = section.value("type", json());
  if (type == "ByteLevel") section.emplace("use_regex", true);
  if (type == "Split") section.emplace("invert", false);
  return section;
}

}  // namespace

absl::string_view NameOfPipeline(const NamedPipeline& pipeline) {
  const json normalizer = Plain(pipeline.normalizer);
  const json pre_tokenizer = Plain(pipeline.pre_tokenizer);
  for (const Entry& entry : kPipelines) {
    const NamedPipeline named = entry.make();
    if (named.ignore_merges == pipeline.ignore_merges && Plain(named.normalizer) == normalizer &&
        Plain(named.pre_tokenizer) == pre_tokenizer) {
      return entry.name;
    }
  }
  return "";
}

absl::StatusOr<NamedPipeline> FindNamedPipeline(const std::string& where, absl::string_view name) {
  const auto* found = std::find_if(std::begin(kPipelines), std::end(kPipelines),
                                   [&](const Entry& entry) { return entry.name == name; });
  if (found != std::end(kPipelines)) return found->make();
  return absl::InvalidArgumentError(
      absl::StrCat(where, " is \"", name, "\", a pre-tokeniser that is not known; known are ",
                   absl::StrJoin(kPipelines, ", ", [](std::string* out, const Entry& entry) {
                     absl::StrAppend(out, entry.name);
                   })));
}

}  // namespace transmla
