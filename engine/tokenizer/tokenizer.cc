#include "engine/tokenizer/tokenizer.h"

#include "engine/base/utf8.h"

namespace transmla {

std::string Tokenizer::Decode(absl::Span<const TokenId> ids, bool skip_control) const {
  std::string bytes;
  for (const TokenId id : ids) {
    if (IsControl(id)) {
      if (!skip_control) bytes += TokenText(id);
    } else {
      bytes += TokenBytes(id);
    }
  }
  return ReplaceInvalidUtf8(bytes);
}

}  // namespace transmla
