// GpuTest: a CUDA backend of the first device, or a skip that says why there is none.
#ifndef TRANSMLA_TESTS_ENGINE_BACKEND_CUDA_GPU_FIXTURE_H_
#define TRANSMLA_TESTS_ENGINE_BACKEND_CUDA_GPU_FIXTURE_H_

#include <memory>
#include <utility>

#include <gtest/gtest.h>

#include "engine/backend/cuda/create.h"

namespace transmla {

class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto backend = CreateCudaBackend({});
    // Any other error is a device that exists and does not work, which is a failure.
    if (absl::IsUnimplemented(backend.status()) || absl::IsNotFound(backend.status())) {
      GTEST_SKIP() << backend.status();
    }
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = std::move(backend).value();
    // The seam learns the activations' type here.
    const absl::Status prepared = backend_->Prepare(
        {.max_tokens = 256, .max_sequences = 4, .max_logit_tokens = 4, .max_context_tokens = 256});
    ASSERT_TRUE(prepared.ok()) << prepared;
  }
  Backend& backend() { return *backend_; }

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace transmla

#endif  // TRANSMLA_TESTS_ENGINE_BACKEND_CUDA_GPU_FIXTURE_H_
