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
  // "auto", or one of "generic", "avx2", "avx512" to hold it back (tests run each that the machine
  // has).
  std::string instruction_set = "auto";
};

// InvalidArgument for an instruction set that is unknown or that this machine lacks.
absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_CREATE_H_
