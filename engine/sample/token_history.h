// TokenHistory counts the tokens of one sequence, for the penalties.
#ifndef TRANSMLA_ENGINE_SAMPLE_TOKEN_HISTORY_H_
#define TRANSMLA_ENGINE_SAMPLE_TOKEN_HISTORY_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace transmla {

// Thread-compatible.
class TokenHistory {
 public:
  void AddPrompt(absl::Span<const int32_t> tokens) {
    for (const int32_t token : tokens) generated_.try_emplace(token, 0);
  }
  void AddGenerated(int32_t token) { ++generated_[token]; }

  // Every token of the prompt and of what was generated, with how often it was generated.
  const absl::flat_hash_map<int32_t, int>& generated() const { return generated_; }

 private:
  absl::flat_hash_map<int32_t, int> generated_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SAMPLE_TOKEN_HISTORY_H_
