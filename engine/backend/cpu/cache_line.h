// The lines of the processor's caches.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_CACHE_LINE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_CACHE_LINE_H_

namespace transmla::cpu {

// Bytes; of every processor of x86-64. Internal linkage, as kernels may have nothing else.
constexpr int kLineBytes = 64;

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_CACHE_LINE_H_
