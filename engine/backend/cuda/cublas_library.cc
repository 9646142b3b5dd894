// cuBLAS, opened at its first call instead of at the program's start: it is large, its thread-local
// storage does not fit small thread stacks, and a server on the CPU needs none of it. Defines the
// functions that this folder calls, each of which passes the call on.
#include "absl/strings/str_cat.h"
#include <cublas_v2.h>
#include <dlfcn.h>

namespace {

void* OpenLibrary() {
  return dlopen(absl::StrCat("libcublas.so.", CUBLAS_VER_MAJOR).c_str(), RTLD_NOW | RTLD_LOCAL);
}

// Null if the library, or the function, is not there.
template <typename Function>
Function* Find(const char* name) {
  static void* const library = OpenLibrary();
  return library == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(library, name));
}

// Calls `name`, or says that cuBLAS never was initialised, which cublasGetStatusString explains.
template <typename Function, typename... Arguments>
cublasStatus_t Call(const char* name, Arguments... arguments) {
  Function* const function = Find<Function>(name);
  return function == nullptr ? CUBLAS_STATUS_NOT_INITIALIZED : function(arguments...);
}

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  return Call<decltype(cublasCreate_v2)>("cublasCreate_v2", handle);
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  return Call<decltype(cublasDestroy_v2)>("cublasDestroy_v2", handle);
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  return Call<decltype(cublasSetStream_v2)>("cublasSetStream_v2", handle, stream);
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t bytes) {
  return Call<decltype(cublasSetWorkspace_v2)>("cublasSetWorkspace_v2", handle, workspace, bytes);
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  return Call<decltype(cublasSetMathMode)>("cublasSetMathMode", handle, mode);
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t transa,
                               cublasOperation_t transb, int64_t m, int64_t n, int64_t k,
                               const void* alpha, const void* a, cudaDataType a_type, int64_t lda,
                               const void* b, cudaDataType b_type, int64_t ldb, const void* beta,
                               void* c, cudaDataType c_type, int64_t ldc,
                               cublasComputeType_t compute, cublasGemmAlgo_t algorithm) {
  return Call<decltype(cublasGemmEx_64)>("cublasGemmEx_64", handle, transa, transb, m, n, k, alpha,
                                         a, a_type, lda, b, b_type, ldb, beta, c, c_type, ldc,
                                         compute, algorithm);
}

const char* cublasGetStatusName(cublasStatus_t status) {
  auto* const function = Find<decltype(cublasGetStatusName)>("cublasGetStatusName");
  return function == nullptr ? "no cuBLAS" : function(status);
}

const char* cublasGetStatusString(cublasStatus_t status) {
  auto* const function = Find<decltype(cublasGetStatusString)>("cublasGetStatusString");
  return function == nullptr ? "libcublas of this build's CUDA version cannot be opened; install "
                               "CUDA's runtime libraries, or use --device=cpu"
                             : function(status);
}

}  // extern "C"
