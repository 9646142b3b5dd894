#include "engine/backend/cpu/instruction_set.h"

#include "absl/strings/str_cat.h"

#include "engine/base/cpu_info.h"

namespace transmla::cpu {
namespace {

// From the best to the one that every machine has.
constexpr InstructionSet kSets[] = {
    {"avx512bf16", &kAvx512Kernels, &kAvx512Bf16Kernels, &kAvx512VnniPanelKernels},
    {"avx512vnni", &kAvx512Kernels, &kAvx512Kernels, &kAvx512VnniPanelKernels},
    {"avx512", &kAvx512Kernels, &kAvx512Kernels, &kAvx2PanelKernels},
    {"avx2", &kAvx2Kernels, &kAvx2Kernels, &kAvx2PanelKernels},
    {"generic", &kGenericKernels, &kGenericKernels, &kGenericPanelKernels},
};

bool MachineHas(const InstructionSet& set) {
  const CpuInfo& cpu = GetCpuInfo();
  if (set.rounding_kernels == &kAvx512Bf16Kernels) return cpu.avx512_bf16 && cpu.avx512_vnni;
  if (set.panels == &kAvx512VnniPanelKernels) return cpu.avx512_vnni;
  if (set.kernels == &kAvx512Kernels) return cpu.avx512;
  return set.kernels == &kGenericKernels || cpu.avx2;
}

}  // namespace

absl::StatusOr<const InstructionSet*> FindInstructionSet(absl::string_view name) {
  for (const InstructionSet& set : kSets) {
    if (name == "auto" && MachineHas(set)) return &set;
    if (name != set.name) continue;
    if (MachineHas(set)) return &set;
    return absl::InvalidArgumentError(absl::StrCat("this machine (", GetCpuInfo().model_name,
                                                   ") lacks instruction set ", name, "; use auto"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("instruction set \"", name,
                   "\" is unknown; use auto, generic, avx2, avx512, avx512vnni or avx512bf16"));
}

}  // namespace transmla::cpu
