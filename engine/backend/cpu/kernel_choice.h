// What only a measurement says of a processor.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_

#include <cstdint>
#include <utility>

#include "absl/container/flat_hash_map.h"

#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/panel_kernels.h"
#include "engine/base/clock.h"

namespace transmla::cpu {

// Whether attention over a BF16 cache takes `a` less time than `b`: the best of several runs of
// each, in turn, some tenths of a millisecond in all. Processors differ by more than twice: AMD's
// multiply twice as many pairs of BF16 in a cycle as they do floats, Intel's half as many.
bool AttendsFaster(const Kernels& a, const Kernels& b, const Clock& clock);

// The faster of two ways to products of panels, for each type and width of weights. Where there
// are two, AMX scales the sums of its tiles outside of them, which costs the more the more there is
// to scale: measured on Emerald Rapids, Q5_0 of 896 columns is half as fast again in tiles, Q4_K of
// 4,864 slower. Thread-compatible.
class PanelDotChoice {
 public:
  // Both must outlive it.
  PanelDotChoice(const PanelKernels& kernels, const Clock& clock)
      : kernels_(kernels), clock_(clock) {}

  // For weights [any, k]. Measured the first time that a type and k are asked for: the best of
  // several runs of each over 64 tokens, in turn, some milliseconds for the widest weights. Both
  // ways give the same bits, so that a wrong choice costs nothing but time.
  PanelDot For(DType dtype, int64_t k);

 private:
  const PanelKernels& kernels_;
  const Clock& clock_;
  absl::flat_hash_map<std::pair<DType, int64_t>, PanelDot> chosen_;
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_
