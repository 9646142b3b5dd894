// Builds without CUDA.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/backend/cuda/create.h"

namespace transmla {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(CudaUnavailableTest, SaysWhatToDo) {
  for (const absl::Status& status : {CreateCudaBackend({}).status(), ListCudaDevices().status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("-DTRANSMLA_CUDA=ON"), HasSubstr("--device=cpu")));
  }
}

}  // namespace
}  // namespace transmla
