#include "engine/model/mla_crossover.h"

#include <limits>

namespace transmla {
namespace {

// The measured crossover over the counted one, of Llama-3-8B's and DeepSeek-V2-Lite's shapes.
constexpr double kMeasuredOverCounted = 1.4;

}  // namespace

double MlaCrossover(const MlaSpec& spec) {
  const double rank = spec.kv_lora_rank;
  const double expanded = double{1} * spec.qk_nope_head_dim + spec.v_head_dim;
  const double saved = 2 * rank - expanded;
  // Without nope keys, scores need no expansion and absorption costs nothing.
  if (spec.qk_nope_head_dim == 0 || saved <= 0) return std::numeric_limits<double>::infinity();
  return kMeasuredOverCounted * rank * expanded / saved;
}

}  // namespace transmla
