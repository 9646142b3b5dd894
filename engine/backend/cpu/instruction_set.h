// InstructionSet: what the CPU backend runs on a machine that has certain instructions.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_INSTRUCTION_SET_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_INSTRUCTION_SET_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/panel_kernels.h"

namespace transmla::cpu {

struct InstructionSet {
  const char* name;  // as in CpuOptions::instruction_set
  const Kernels* kernels;
  const Kernels* rounding_kernels;  // with CpuOptions::quantised_activations
  const PanelKernels* panels;
};

// The best that this machine has if `name` is "auto" (kernel_choice.h measures where its flags do
// not tell), else the one so called. InvalidArgument if it is unknown or the machine lacks it. The
// result is never destroyed.
absl::StatusOr<const InstructionSet*> FindInstructionSet(absl::string_view name);

// Of all sets, the best first.
std::vector<std::string> InstructionSetNames();

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_INSTRUCTION_SET_H_
