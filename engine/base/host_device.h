// TRANSMLA_HOST_DEVICE marks plain functions that nvcc compiles for both sides: index and plan
// arithmetic shared by CUDA kernels and CPU tests.
#ifndef TRANSMLA_ENGINE_BASE_HOST_DEVICE_H_
#define TRANSMLA_ENGINE_BASE_HOST_DEVICE_H_

#if defined(__CUDACC__)
#define TRANSMLA_HOST_DEVICE __host__ __device__
#else
#define TRANSMLA_HOST_DEVICE
#endif

#endif  // TRANSMLA_ENGINE_BASE_HOST_DEVICE_H_
