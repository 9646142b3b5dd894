// Pretokenizer: cuts a text into the words that byte-level BPE works on.
//
// The "pre_tokenizer" section of tokenizer.json as Hugging Face's tokenizers reads it: Sequence,
// Split, Digits and ByteLevel, with all their options.
#ifndef TRANSMLA_ENGINE_TOKENIZER_PRETOKENIZER_H_
#define TRANSMLA_ENGINE_TOKENIZER_PRETOKENIZER_H_

#include <deque>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <nlohmann/json_fwd.hpp>

#include "engine/tokenizer/regex.h"

namespace transmla {

// GPT-2's expression, which ByteLevel uses (Radford et al. 2019).
inline constexpr absl::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Words in a text's order, none empty. They point into the text, or into `made` where a step put a
// space before one.
struct Words {
  std::vector<absl::string_view> pieces;
  std::deque<std::string> made;
};

// Immutable; thread-safe.
class Pretokenizer {
 public:
  // `where` names the section: "model/tokenizer.json: pre_tokenizer". A null section leaves texts
  // whole. InvalidArgument for a broken one, Unimplemented for steps other than those above.
  static absl::StatusOr<Pretokenizer> FromJson(const std::string& where,
                                               const nlohmann::json& section);

  // Replaces `words` by those of `text`, which must outlive it.
  // InvalidArgument if an expression reaches its limits (regex.h). REQUIRES: `text` is UTF-8.
  absl::Status Split(absl::string_view text, Words& words) const;

  // Whether a step maps bytes to GPT-2's alphabet; a vocabulary of bytes needs it.
  bool byte_level() const { return byte_level_; }

 private:
  // What becomes of the matches of Split's expression.
  enum class Behavior {
    kRemoved,
    kIsolated,            // words of their own
    kMergedWithPrevious,  // the end of the word before
    kMergedWithNext,      // the start of the word behind
    kContiguous,          // as isolated, but matches that touch are one word
  };
  struct Step {
    bool add_prefix_space = false;  // before the expression is looked for
    std::vector<Regex> regex;       // none, or one
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;  // what the expression does not match counts as match
  };
  struct Part {
    size_t begin, end;
    bool is_match;
  };

  Pretokenizer() = default;

  absl::Status AddSteps(const std::string& where, const nlohmann::json& section);
  absl::Status AddSplit(const std::string& where, const nlohmann::json& section);
  absl::Status AddByteLevel(const std::string& where, const nlohmann::json& section);
  absl::Status AddDigits(const std::string& where, const nlohmann::json& section);

  static absl::Status Apply(const Step& step, absl::string_view piece,
                            std::vector<absl::string_view>& out);
  static std::vector<Part> Regroup(std::vector<Part> parts, Behavior behavior);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_PRETOKENIZER_H_
