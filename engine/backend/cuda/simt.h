// Lets a .cuh of this folder compile as plain C++, so that tests run its kernels on the CPU. nvcc
// sees an empty header but for <cstdint>.
//
// Threads of a launch run one after the other, each to its end. Kernels that exchange data between
// threads (__syncthreads, shared memory, warp operations) need more than that and do not compile.
#ifndef TRANSMLA_ENGINE_BACKEND_CUDA_SIMT_H_
#define TRANSMLA_ENGINE_BACKEND_CUDA_SIMT_H_

#include <cstdint>

#if !defined(__CUDACC__)

// CUDA's headers for host code define these too.
#undef __global__
#undef __device__
#define __global__
#define __device__

namespace transmla::simt {

// The x dimension, which is all that the kernels use.
struct Index {
  unsigned x = 0;
};

inline thread_local Index thread_index;
inline thread_local Index block_index;
inline thread_local Index block_size;
inline thread_local Index grid_size;

// kernel<<<blocks, threads>>>(args…)
template <typename Kernel, typename... Args>
void Launch(unsigned blocks, unsigned threads, Kernel kernel, Args... args) {
  grid_size.x = blocks;
  block_size.x = threads;
  for (block_index.x = 0; block_index.x < blocks; ++block_index.x) {
    for (thread_index.x = 0; thread_index.x < threads; ++thread_index.x) kernel(args...);
  }
}

}  // namespace transmla::simt

#define threadIdx ::transmla::simt::thread_index
#define blockIdx ::transmla::simt::block_index
#define blockDim ::transmla::simt::block_size
#define gridDim ::transmla::simt::grid_size

#endif  // !defined(__CUDACC__)

#endif  // TRANSMLA_ENGINE_BACKEND_CUDA_SIMT_H_
