#include "engine/linalg/threads.h"

#include "engine/base/check.h"

// OpenBLAS's own, in no header that every BLAS has; null where another BLAS is linked.
extern "C" {
__attribute__((weak)) void openblas_set_num_threads(int threads);
__attribute__((weak)) int openblas_get_num_threads(void);
}

namespace transmla {

void SetLinalgThreads(int threads) {
  CHECK_GE(threads, 1);
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(threads);
}

int LinalgThreads() { return openblas_get_num_threads != nullptr ? openblas_get_num_threads() : 1; }

}  // namespace transmla
