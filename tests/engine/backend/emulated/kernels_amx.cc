#include "tests/engine/backend/emulated/instruction_sets.h"
namespace transmla::cpu {
const Kernels kEmulatedAmxKernels = {};
}
