#include "engine/tokenizer/stream_decoder.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

#include "engine/base/utf8.h"

namespace transmla {

std::string StreamDecoder::Push(TokenId id) {
  if (tokenizer_->IsControl(id)) {
    if (!skip_control_ || absl::c_linear_search(shown_, id)) pending_ += tokenizer_->TokenText(id);
  } else {
    pending_ += tokenizer_->TokenBytes(id);
  }
  std::string out;
  absl::string_view rest = pending_;
  while (!rest.empty()) {
    const Utf8Step step = NextUtf8(rest);
    if (step.truncated) break;  // the next token may complete it
    const auto bytes = static_cast<size_t>(step.bytes);
    absl::StrAppend(&out, step.valid ? rest.substr(0, bytes) : kReplacementCharacter);
    rest.remove_prefix(bytes);
  }
  pending_ = std::string(rest);
  return out;
}

std::string StreamDecoder::Flush() { return ReplaceInvalidUtf8(std::exchange(pending_, "")); }

}  // namespace transmla
