// Instruction sets that few machines have, with the instructions that are theirs alone emulated:
// the same kernels, layouts and order of sums, so that their tests run where the real ones cannot.
#ifndef TRANSMLA_TESTS_ENGINE_BACKEND_EMULATED_INSTRUCTION_SETS_H_
#define TRANSMLA_TESTS_ENGINE_BACKEND_EMULATED_INSTRUCTION_SETS_H_

#include "engine/backend/cpu/instruction_set.h"
#include "engine/base/cpu_info.h"

namespace transmla::cpu {

extern const PanelKernels kEmulatedAvxVnniPanelKernels;  // needs AVX2
extern const PanelKernels kEmulatedAmxPanelKernels;      // needs AVX-512 VNNI
extern const PanelKernels kAmxOtherPanelKernels;         // of AMX, other_dot; needs AVX-512 VNNI
extern const Kernels kEmulatedAmxKernels;                // needs AVX-512 BF16

struct EmulatedSet {
  InstructionSet set;
  bool (*has)(const CpuInfo& cpu);
};

inline constexpr EmulatedSet kEmulatedSets[] = {
    {{"amx_emulated", &kAvx512Kernels, &kEmulatedAmxKernels, &kEmulatedAmxPanelKernels},
     [](const CpuInfo& cpu) { return cpu.avx512_vnni && cpu.avx512_bf16; }},
    {{"vnni_on_amx_tiles", &kAvx512Kernels, &kAvx512Kernels, &kAmxOtherPanelKernels},
     [](const CpuInfo& cpu) { return cpu.avx512_vnni; }},
    {{"avxvnni_emulated", &kAvx2Kernels, &kAvx2Kernels, &kEmulatedAvxVnniPanelKernels},
     [](const CpuInfo& cpu) { return cpu.avx2; }},
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_TESTS_ENGINE_BACKEND_EMULATED_INSTRUCTION_SETS_H_
