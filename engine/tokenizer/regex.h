// Regex: the regular expressions of tokenizer.json, over PCRE2.
//
// Hugging Face compiles them with Oniguruma. PCRE2 reads the same syntax as far as tokenizers use
// it; what it reads differently is rewritten (\s: PCRE2 counts U+180E as space) or refused (classes
// inside classes, &&). Unicode properties are those of PCRE2's Unicode version (14 in Debian 12).
#ifndef TRANSMLA_ENGINE_TOKENIZER_REGEX_H_
#define TRANSMLA_ENGINE_TOKENIZER_REGEX_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace transmla {

// Immutable and thread-safe; cheap to copy.
class Regex {
 public:
  struct Match {
    size_t begin = 0;
    size_t end = 0;
  };

  // `where` is for messages. InvalidArgument, with place and reason, for a broken expression.
  static absl::StatusOr<Regex> Compile(const std::string& where, absl::string_view pattern);

  // Appends all matches from left to right, which do not overlap; empty ones too.
  // InvalidArgument if the expression needs more than kMaxMatchSteps or kMaxMatchKilobytes.
  // REQUIRES: `text` is UTF-8.
  absl::Status FindAll(absl::string_view text, std::vector<Match>& matches) const;

 private:
  struct Code;  // the compiled expression

  Regex(std::string where, std::shared_ptr<const Code> code)
      : where_(std::move(where)), code_(std::move(code)) {}

  std::string where_;
  std::shared_ptr<const Code> code_;
};

// The expression that matches `text` itself.
std::string EscapeForRegex(absl::string_view text);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_REGEX_H_
