// CpuContext: what every operation of the CPU backend works with.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_CONTEXT_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_CONTEXT_H_

#include <memory>
#include <vector>

#include "engine/backend/cpu/arena.h"
#include "engine/backend/cpu/instruction_set.h"
#include "engine/base/thread_pool.h"

namespace transmla::cpu {

struct CpuContext {
  // Workspace of each worker: decoded weight rows, or the tiles and sums of attention. Only what an
  // operation touches takes memory.
  static constexpr int64_t kScratchBytes = int64_t{16} << 20;
  // Partial results of a long context that several workers share.
  static constexpr int64_t kPartialBytes = int64_t{32} << 20;

  // Activation tiles of a product (activation_tiles.h); products of more tokens go in turns.
  static constexpr int64_t kTileBytes = int64_t{32} << 20;
  // Likewise, activations packed for BF16 weights (Kernels::pack_rows).
  static constexpr int64_t kPackedBytes = int64_t{32} << 20;

  const InstructionSet* instruction_set = nullptr;
  const Kernels* kernels = nullptr;      // of instruction_set
  const PanelKernels* panels = nullptr;  // of instruction_set
  bool quantised_activations = false;    // CpuOptions
  std::unique_ptr<ThreadPool> pool;
  std::vector<Arena> scratch;  // [pool->threads()], kScratchBytes each
  Arena partials;              // kPartialBytes
  Arena tiles;                 // kTileBytes
  Arena packed;                // kPackedBytes

  float* Scratch(int worker) { return reinterpret_cast<float*>(scratch[worker].data()); }
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_CONTEXT_H_
