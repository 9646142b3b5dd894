// Builds with CUDA, on machines with and without a device.
#include "engine/backend/cuda/create.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/backend/cuda/status.h"

namespace transmla {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

TEST(CudaCreateTest, AMissingDeviceIsNotFoundAndSaysWhatToDo) {
  for (const int device : {-1, 4096}) {
    const absl::Status status = CreateCudaBackend({.device = device}).status();
    // The driver itself is what most test machines lack.
    EXPECT_THAT(status.code(),
                AnyOf(absl::StatusCode::kNotFound, absl::StatusCode::kFailedPrecondition));
    EXPECT_THAT(std::string(status.message()),
                AnyOf(HasSubstr("--device=cpu"),
                      AllOf(HasSubstr(absl::StrCat("cuda:", device)), HasSubstr("counted from"))));
  }
}

TEST(CudaCreateTest, ListAgreesWithCreate) {
  const auto devices = ListCudaDevices();
  const absl::Status first = CreateCudaBackend({}).status();
  if (!devices.ok()) {
    EXPECT_EQ(first, devices.status());
    return;
  }
  EXPECT_EQ(first.code() == absl::StatusCode::kNotFound, devices->empty());
}

TEST(CudaStatusTest, CarriesTheCallAndTheLibrarysText) {
  EXPECT_TRUE(cuda::ToStatus(cudaSuccess, "cudaFree(p)").ok());
  EXPECT_TRUE(cuda::ToStatus(CUBLAS_STATUS_SUCCESS, "cublasCreate(&h)").ok());
  const absl::Status launch = cuda::ToStatus(cudaErrorIllegalAddress, "Widen(stream, in)");
  EXPECT_EQ(launch.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(launch.message()),
              AllOf(HasSubstr("Widen: "), HasSubstr("illegal memory access")));
  EXPECT_EQ(cuda::ToStatus(cudaErrorMemoryAllocation, "cudaMalloc").code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(cuda::ToStatus(cudaErrorDevicesUnavailable, "cudaSetDevice").code(),
            absl::StatusCode::kUnavailable);
  const absl::Status cublas = cuda::ToStatus(CUBLAS_STATUS_EXECUTION_FAILED, "cublasGemmEx_64(h)");
  EXPECT_EQ(cublas.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(cublas.message()),
              AllOf(HasSubstr("cublasGemmEx_64: "), HasSubstr("EXECUTION_FAILED")));
}

}  // namespace
}  // namespace transmla
