// The seam on a device: query, transfers, and what is not built yet.
#include "engine/tensor/float_types.h"
#include "tests/engine/backend/backend_fixture.h"
#include "tests/engine/backend/cuda/gpu_fixture.h"

namespace transmla {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CudaBackendTest : public GpuTest {};

TEST_F(CudaBackendTest, ReportsItsDevice) {
  const auto devices = ListCudaDevices();
  ASSERT_TRUE(devices.ok()) << devices.status();
  ASSERT_FALSE(devices->empty());
  const DeviceInfo info = backend().info();
  EXPECT_EQ(info.name, devices->front().name);
  EXPECT_EQ(info.memory_bytes, devices->front().memory_bytes);
  EXPECT_THAT(info.name, HasSubstr("compute capability"));
  EXPECT_GT(info.memory_bytes, int64_t{1} << 30);
  EXPECT_EQ(info.activation_dtype, DType::kBF16);
}

TEST_F(CudaBackendTest, ReadsWhatWasWrittenRoundedToBf16) {
  Random random(1);
  const std::vector<float> values = RandomFloats(random, 7 * 33);
  Activations tensor(backend(), {7, 33}, values);
  const std::vector<float> read = tensor.Read();
  for (size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(read[i], Bf16ToFloat(FloatToBf16(values[i]))) << i;
  }
}

TEST_F(CudaBackendTest, TensorsStartAsZeros) {
  auto tensor = backend().NewTensor({3, 129});
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  std::vector<float> values(3 * 129, -1.0f);
  ASSERT_TRUE(backend().Read((*tensor)->Rows(3), absl::MakeSpan(values)).ok());
  EXPECT_THAT(values, ::testing::Each(0.0f));
}

TEST_F(CudaBackendTest, QuantisedMatricesAreUnimplementedByName) {
  Random random(2);
  for (const DType dtype : {DType::kQ4_1, DType::kQ8_0, DType::kQ6_K}) {
    const std::vector<uint8_t> bytes = RandomRows(random, dtype, 512);
    const absl::Status status =
        backend()
            .Pack({.view = {bytes.data(), dtype, {1, 512}}, .role = WeightRole::kLinear})
            .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(DTypeName(dtype)), HasSubstr("--device=cpu")));
  }
}

TEST_F(CudaBackendTest, MissingOperationsSayWhatToDoAndLeaveTheBackendUsable) {
  const WeightPtr norm =
      PackFloats(backend(), {5}, std::vector<float>(5, 1.0f), WeightRole::kVector);
  Activations x(backend(), {2, 5}, 1.0f);
  const absl::Status status =
      backend().Norm({.in = x.view(), .weight = norm.get(), .out = x.view()});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("Norm"), HasSubstr("--device=cpu")));
  EXPECT_EQ(backend()
                .CreateKvStore({.num_layers = 1, .first_dim = 8, .second_dim = 8}, 1)
                .status()
                .code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_THAT(x.Read(), ::testing::Each(1.0f));
}

TEST_F(CudaBackendTest, TooLargeATensorIsResourceExhaustedAndLeavesTheBackendUsable) {
  const absl::Status status = backend().NewTensor({int64_t{1} << 22, int64_t{1} << 22}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  Activations x(backend(), {2, 5}, 3.0f);
  EXPECT_THAT(x.Read(), ::testing::Each(3.0f));
}

}  // namespace
}  // namespace transmla
