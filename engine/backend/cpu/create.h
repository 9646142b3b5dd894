// Makes the CPU backend: every x86-64-v2 machine, with the kernels of the best instruction set it
// has.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_CREATE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_CREATE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "engine/backend/backend.h"

namespace transmla {

struct CpuOptions {
  int threads = 0;  // 0: all usable cores (CpuInfo)
  // "auto", or one of "generic", "avx2", "avxvnni", "avx512", "avx512vnni", "avx512bf16", "amx" to
  // hold it back (tests run each that the machine has).
  std::string instruction_set = "auto";
  // Binds each thread but the caller's to a processor of its own (PlacementOrder). For a machine or
  // cpuset that nothing else uses: bound threads do not move away from other work.
  bool pin_threads = false;
  // Rounds what is multiplied with a block-quantised weight to 8 bits, 32 elements a scale, and
  // multiplies integers: several times faster, for an error of at most 1/254 of the greatest of the
  // 32 in each element. Where the processor multiplies BF16, rounds to BF16 what meets a BF16
  // weight, or a BF16 cache in attention. For serving. Off, products are exact up to float
  // rounding: for conversion, evaluation and whatever is compared with a reference. Weights of F32,
  // F16, Q2_K and Q3_K are not concerned.
  bool quantised_activations = false;
};

// InvalidArgument for an instruction set that is unknown or that this machine lacks.
absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_CREATE_H_
