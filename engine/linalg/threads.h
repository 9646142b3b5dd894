// How many threads BLAS and LAPACK may use.
#ifndef TRANSMLA_ENGINE_LINALG_THREADS_H_
#define TRANSMLA_ENGINE_LINALG_THREADS_H_

namespace transmla {

// Of the whole process, from the next product or decomposition on: OpenBLAS has one set of threads,
// by default one a core. Does nothing with a BLAS that has no such setting. REQUIRES: threads >= 1,
// and nobody is inside a product or decomposition.
void SetLinalgThreads(int threads);
// What is set; 1 with a BLAS that does not say.
int LinalgThreads();

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_LINALG_THREADS_H_
