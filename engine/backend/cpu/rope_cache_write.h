// Rotary position embedding of queries and keys, and the write of keys, values and latents to their
// pages.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_ROPE_CACHE_WRITE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_ROPE_CACHE_WRITE_H_

#include <vector>

#include "engine/backend/cpu/context.h"
#include "engine/backend/op_args.h"
#include "engine/backend/ragged_batch.h"

namespace transmla::cpu {

// Cosines and sines of a step's positions. Layers mostly share their frequencies, so they are kept
// until frequencies change. Angles are taken in double: at position 32768 a float's would be off by
// up to 2e-3.
class RopeTable {
 public:
  // Makes room for `tokens` tokens of `pairs` pairs.
  void Reserve(int64_t tokens, int64_t pairs);
  // Forgets the last step.
  void Clear() { pairs_ = 0; }
  // Fills the table for the batch's positions unless it is filled alike.
  void Fill(CpuContext& context, const RaggedBatch& batch, const PackedWeight& inv_freq,
            float magnitude);
  // Rotates, at token t, `head`: element i with element i + pairs.
  void Rotate(int64_t t, float* head) const;

 private:
  int64_t pairs_ = 0;
  float magnitude_ = 0.0f;
  std::vector<float> frequencies_;  // [pairs]
  std::vector<float> cosines_;      // [tokens, pairs], times magnitude
  std::vector<float> sines_;        // [tokens, pairs], times magnitude
};

void GqaCacheWrite(CpuContext& context, const RaggedBatch& batch, RopeTable& table,
                   const GqaCacheWriteArgs& args);
void MlaCacheWrite(CpuContext& context, const RaggedBatch& batch, RopeTable& table,
                   const MlaCacheWriteArgs& args);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_ROPE_CACHE_WRITE_H_
