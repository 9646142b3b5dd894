#include "engine/backend/cpu/instruction_set.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "engine/backend/cpu/kernel_choice.h"
#include "engine/base/clock.h"
#include "engine/base/cpu_info.h"

namespace transmla::cpu {
namespace {

struct Choice {
  InstructionSet set;
  bool (*has)(const CpuInfo& cpu);
  bool (*pays)() = [] { return true; };  // to choose it unasked; called if the processor has it
};

// Measured once, so that all backends of a process compute alike.
bool Bf16ProductsPay() {
  static const bool pay = AttendsFaster(kAvx512Bf16Kernels, kAvx512VnniKernels, *SystemClock());
  return pay;
}

// From the best to the one that every machine has.
constexpr Choice kChoices[] = {
    {{"amx", &kAvx512Kernels, &kAmxKernels, &kAmxPanelKernels},
     [](const CpuInfo& cpu) {
       return cpu.amx_int8 && cpu.amx_bf16 && cpu.avx512_bf16 && cpu.avx512_vnni;
     }},
    {{"avx512bf16", &kAvx512Kernels, &kAvx512Bf16Kernels, &kAvx512VnniPanelKernels},
     [](const CpuInfo& cpu) { return cpu.avx512_bf16 && cpu.avx512_vnni; },
     Bf16ProductsPay},
    {{"avx512vnni", &kAvx512Kernels, &kAvx512VnniKernels, &kAvx512VnniPanelKernels},
     [](const CpuInfo& cpu) { return cpu.avx512_vnni; }},
    {{"avx512", &kAvx512Kernels, &kAvx512Kernels, &kAvx2PanelKernels},
     [](const CpuInfo& cpu) { return cpu.avx512; }},
    {{"avxvnni", &kAvx2Kernels, &kAvx2Kernels, &kAvxVnniPanelKernels},
     [](const CpuInfo& cpu) { return cpu.avx_vnni; }},
    {{"avx2", &kAvx2Kernels, &kAvx2Kernels, &kAvx2PanelKernels},
     [](const CpuInfo& cpu) { return cpu.avx2; }},
    {{"generic", &kGenericKernels, &kGenericKernels, &kGenericPanelKernels},
     [](const CpuInfo&) { return true; }},
};

}  // namespace

absl::StatusOr<const InstructionSet*> FindInstructionSet(absl::string_view name) {
  const CpuInfo& cpu = GetCpuInfo();
  for (const auto& [set, has, pays] : kChoices) {
    if (name == "auto" && has(cpu) && pays()) return &set;
    if (name != set.name) continue;
    if (has(cpu)) return &set;
    return absl::InvalidArgumentError(absl::StrCat("this machine (", cpu.model_name,
                                                   ") lacks instruction set ", name, "; use auto"));
  }
  return absl::InvalidArgumentError(absl::StrCat("instruction set \"", name,
                                                 "\" is unknown; use auto, ",
                                                 absl::StrJoin(InstructionSetNames(), ", ")));
}

std::vector<std::string> InstructionSetNames() {
  std::vector<std::string> names;
  for (const Choice& choice : kChoices) names.push_back(choice.set.name);
  return names;
}

}  // namespace transmla::cpu
