// A device in host memory: the functions of CUDA, of cuBLAS and the launchers that the backend
// calls. Linked into a test, they take the place of the real ones, so that the backend's own code
// (order of calls, sizes, strides, tiles) runs on machines without a device.
//
// Calls finish before they return, so this shows nothing about synchronisation or speed. Fresh
// memory is full of NaN.
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include "engine/backend/cuda/expert_kernels.cuh"
#include "engine/backend/cuda/expert_kernels.h"
#include "engine/backend/cuda/linear_kernels.cuh"
#include "engine/backend/cuda/linear_kernels.h"
#include "engine/base/check.h"

namespace {

constexpr size_t kMemoryBytes = size_t{2} << 30;

std::map<void*, std::unique_ptr<std::vector<std::byte>>>& Allocations() {
  static auto* const allocations = new std::map<void*, std::unique_ptr<std::vector<std::byte>>>;
  return *allocations;
}

size_t FreeBytes() {
  size_t used = 0;
  for (const auto& [data, buffer] : Allocations()) used += buffer->size();
  return kMemoryBytes - used;
}

// Whether [data, data + bytes) lies within one allocation.
bool IsDeviceMemory(const void* data, size_t bytes) {
  auto after = Allocations().upper_bound(const_cast<void*>(data));
  if (after == Allocations().begin()) return false;
  const auto& [start, buffer] = *std::prev(after);
  const size_t offset = static_cast<const std::byte*>(data) - static_cast<std::byte*>(start);
  return offset + bytes <= buffer->size();
}

float Element(const void* data, cudaDataType_t type, int64_t i) {
  CHECK(type == CUDA_R_32F || type == CUDA_R_16BF);
  if (type == CUDA_R_32F) return static_cast<const float*>(data)[i];
  return transmla::Bf16ToFloat(static_cast<const uint16_t*>(data)[i]);
}

int64_t ElementBytes(cudaDataType_t type) { return type == CUDA_R_32F ? 4 : 2; }

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  std::strcpy(properties->name, "Emulated device");
  properties->major = 9;
  properties->totalGlobalMem = kMemoryBytes;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaDriverGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorName(cudaError_t) { return "error"; }
const char* cudaGetErrorString(cudaError_t) { return "emulated"; }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(stream);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

cudaError_t cudaMalloc(void** data, size_t bytes) {
  if (bytes > FreeBytes()) return cudaErrorMemoryAllocation;
  auto buffer = std::make_unique<std::vector<std::byte>>(bytes, std::byte{0xFF});
  *data = buffer->data();
  Allocations()[*data] = std::move(buffer);
  return cudaSuccess;
}
cudaError_t cudaFree(void* data) {
  CHECK_EQ(Allocations().erase(data), 1u);
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
  *free_bytes = FreeBytes();
  *total_bytes = kMemoryBytes;
  return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  CHECK(IsDeviceMemory(data, bytes));
  std::memset(data, value, bytes);
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t) {
  CHECK_EQ(IsDeviceMemory(to, bytes), kind == cudaMemcpyHostToDevice);
  CHECK_EQ(IsDeviceMemory(from, bytes), kind == cudaMemcpyDeviceToHost);
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  *handle = reinterpret_cast<cublasHandle_t>(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetStream_v2(cublasHandle_t, cudaStream_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t) { return CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void* data, size_t bytes) {
  CHECK(IsDeviceMemory(data, bytes));
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasGetStatusName(cublasStatus_t) { return "error"; }
const char* cublasGetStatusString(cublasStatus_t) { return "emulated"; }

// C = alpha · Aᵀ · B + beta · C, columns first (cuBLAS documentation, cublasGemmEx): A is [k, m]
// with columns lda apart, B [k, n], C [m, n].
cublasStatus_t cublasGemmEx_64(cublasHandle_t, cublasOperation_t op_a, cublasOperation_t op_b,
                               int64_t m, int64_t n, int64_t k, const void* alpha, const void* a,
                               cudaDataType_t a_type, int64_t lda, const void* b,
                               cudaDataType_t b_type, int64_t ldb, const void* beta, void* c,
                               cudaDataType_t c_type, int64_t ldc, cublasComputeType_t compute,
                               cublasGemmAlgo_t) {
  // What cuBLAS itself demands of these arguments.
  if (op_a != CUBLAS_OP_T || op_b != CUBLAS_OP_N || a_type != b_type || c_type != CUDA_R_32F ||
      compute != CUBLAS_COMPUTE_32F || lda < k || ldb < k || ldc < m) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  CHECK(IsDeviceMemory(a, ((m - 1) * lda + k) * ElementBytes(a_type)));
  CHECK(IsDeviceMemory(b, ((n - 1) * ldb + k) * ElementBytes(b_type)));
  CHECK(IsDeviceMemory(c, ((n - 1) * ldc + m) * sizeof(float)));
  const float scale = *static_cast<const float*>(alpha);
  const float keep = *static_cast<const float*>(beta);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += double{Element(a, a_type, i * lda + l)} * Element(b, b_type, j * ldb + l);
      }
      float& out = static_cast<float*>(c)[j * ldc + i];
      out = static_cast<float>(scale * sum) + (keep == 0 ? 0.0f : keep * out);
    }
  }
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"

namespace transmla::cuda {

constexpr unsigned kEmulatedBlocks = 3;
constexpr unsigned kEmulatedThreads = 32;

cudaError_t LoadTile(cudaStream_t, const uint16_t* in, int64_t used, int64_t size, uint16_t* tile) {
  simt::Launch(kEmulatedBlocks, kEmulatedThreads, LoadTileKernel<uint16_t>, in, used, size, tile);
  return cudaSuccess;
}
cudaError_t LoadTile(cudaStream_t, const uint16_t* in, int64_t used, int64_t size, float* tile) {
  simt::Launch(kEmulatedBlocks, kEmulatedThreads, LoadTileKernel<float>, in, used, size, tile);
  return cudaSuccess;
}
cudaError_t Widen(cudaStream_t, const uint16_t* in, int64_t size, float* out) {
  simt::Launch(kEmulatedBlocks, kEmulatedThreads, WidenKernel, in, size, out);
  return cudaSuccess;
}
cudaError_t FinishSums(cudaStream_t, const float* sums, const float* bias, bool accumulate,
                       int64_t rows, int64_t size, uint16_t* out) {
  simt::Launch(kEmulatedBlocks, kEmulatedThreads, FinishKernel, sums, bias, accumulate, rows, size,
               out);
  return cudaSuccess;
}
cudaError_t RouteTokens(cudaStream_t, const uint16_t* logits, int64_t tokens, int experts,
                        int top_k, bool normalize, int32_t* chosen, float* weights) {
  simt::Launch(kEmulatedBlocks, kEmulatedThreads, RouteKernel, logits, tokens, experts, top_k,
               normalize, chosen, weights);
  return cudaSuccess;
}
cudaError_t Gather(cudaStream_t, const uint16_t* in, const int32_t* rows, int64_t cols,
                   int64_t size, uint16_t* out) {
  simt::Launch(kEmulatedBlocks, kEmulatedThreads, GatherKernel, in, rows, cols, size, out);
  return cudaSuccess;
}
cudaError_t Combine(cudaStream_t, const uint16_t* in, const int32_t* rows, const float* weights,
                    int terms, bool accumulate, int64_t cols, int64_t size, uint16_t* out) {
  simt::Launch(kEmulatedBlocks, kEmulatedThreads, CombineKernel, in, rows, weights, terms,
               accumulate, cols, size, out);
  return cudaSuccess;
}
cudaError_t FindKernels() { return cudaSuccess; }

}  // namespace transmla::cuda
