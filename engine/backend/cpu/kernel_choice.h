// What only a measurement says of a processor.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_

#include "engine/backend/cpu/kernels.h"
#include "engine/base/clock.h"

namespace transmla::cpu {

// Whether attention over a BF16 cache takes `a` less time than `b`: the best of several runs of
// each, in turn, some tenths of a millisecond in all. Processors differ by more than twice: AMD's
// multiply twice as many pairs of BF16 in a cycle as they do floats, Intel's half as many.
bool AttendsFaster(const Kernels& a, const Kernels& b, const Clock& clock);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_KERNEL_CHOICE_H_
