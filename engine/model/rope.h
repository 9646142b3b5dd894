// Inverse frequencies of rotary position embeddings (RoPE, arXiv 2104.09864).
#ifndef TRANSMLA_ENGINE_MODEL_ROPE_H_
#define TRANSMLA_ENGINE_MODEL_ROPE_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/format/config.h"

namespace transmla {

struct Rope {
  std::vector<float> inv_freq;  // [rotary_dim / 2], radians a position
  float magnitude = 1;          // multiplies rotated queries and keys (attention_factor)
};

// theta^(-2t / rotary_dim) for pair t, changed as `scaling` says: "linear", "llama3" (Llama 3.1's
// stretch of slow frequencies), "yarn" (arXiv 2309.00071), "longrope" (arXiv 2402.13753) or
// "default". Unimplemented names another type. REQUIRES: rotary_dim even and positive, theta
// positive.
//
// Longrope has two sets of factors, for contexts up to the original and for longer ones. A cache
// holds keys that are already rotated, so a sequence cannot change from one to the other: the set
// is chosen once, by `max_positions`. Where both are alike nothing needs to say what the original
// context was.
absl::StatusOr<Rope> MakeRope(int rotary_dim, double theta,
                              const std::optional<RopeScaling>& scaling, int64_t max_positions);

// Whether longrope's factors are those of contexts beyond the original.
bool IsLongContext(const RopeScaling& scaling, int64_t max_positions);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_ROPE_H_
