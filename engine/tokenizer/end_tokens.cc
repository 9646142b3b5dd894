#include "engine/tokenizer/end_tokens.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/string_view.h"

namespace transmla {
namespace {

constexpr absl::string_view kEnds[] = {
    "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>",
    "<|eom_id|>", "<end_of_turn>", "<|end|>",    "</s>",
};

}  // namespace

void AddKnownEndTokens(absl::Span<const AddedToken> added, std::vector<TokenId>& eos) {
  for (const AddedToken& token : added) {
    if (token.special &&
        std::find(std::begin(kEnds), std::end(kEnds), token.text) != std::end(kEnds)) {
      eos.push_back(token.id);
    }
  }
  std::sort(eos.begin(), eos.end());
  eos.erase(std::unique(eos.begin(), eos.end()), eos.end());
}

}  // namespace transmla
