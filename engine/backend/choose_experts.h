// The choice of a token's experts, the same code for all devices.
#ifndef TRANSMLA_ENGINE_BACKEND_CHOOSE_EXPERTS_H_
#define TRANSMLA_ENGINE_BACKEND_CHOOSE_EXPERTS_H_

#include <cstdint>

#include "engine/tensor/float_types.h"

namespace transmla {

constexpr float LogitToFloat(float logit) { return logit; }
constexpr float LogitToFloat(uint16_t bf16) { return Bf16ToFloat(bf16); }

// Writes to chosen[0, top_k) the indices of the greatest of `experts` logits, the greatest first
// and of equal ones the lower index. They differ from one another and are below `experts` even
// where logits are NaN. `T` is float or BF16's bits. REQUIRES: 1 <= top_k <= experts.
template <typename T>
constexpr void ChooseExperts(const T* logits, int experts, int top_k, int32_t* chosen) {
  int count = 0;
  for (int e = 0; e < experts; ++e) {
    const float logit = LogitToFloat(logits[e]);
    if (count == top_k && !(logit > LogitToFloat(logits[chosen[top_k - 1]]))) continue;
    int at = count < top_k ? count++ : top_k - 1;
    for (; at > 0 && logit > LogitToFloat(logits[chosen[at - 1]]); --at) {
      chosen[at] = chosen[at - 1];
    }
    chosen[at] = e;
  }
}

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_CHOOSE_EXPERTS_H_
