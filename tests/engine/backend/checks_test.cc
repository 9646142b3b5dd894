#include "engine/backend/checks.h"

#include <functional>
#include <limits>

#include "engine/backend/device.h"
#include "tests/engine/backend/backend_fixture.h"

namespace transmla {
namespace {

using ::testing::HasSubstr;

constexpr StepLimits kLimits = {
    .max_tokens = 8, .max_sequences = 2, .max_logit_tokens = 2, .max_context_tokens = 256};

RaggedBatch Good() {
  RaggedBatch batch = MakeBatch({{62, 3, {5, 6}}, {0, 1, {7}}});
  batch.logit_tokens = {2, 3};
  return batch;
}

TEST(CheckBatchTest, AcceptsAGoodBatch) { EXPECT_TRUE(CheckBatch(Good(), kLimits).ok()); }

TEST(CheckBatchTest, RefusesEachBrokenField) {
  const struct {
    const char* what;
    std::function<void(RaggedBatch&)> spoil;
  } cases[] = {
      {"0 tokens", [](RaggedBatch& b) { b = {}; }},
      {"9 tokens",
       [](RaggedBatch& b) {
         b = MakeBatch({{0, 9, {1}}});
       }},
      {"3 sequences",
       [](RaggedBatch& b) {
         b = MakeBatch({{0, 1, {1}}, {0, 1, {1}}, {0, 1, {1}}});
       }},
      {"positions", [](RaggedBatch& b) { b.positions.pop_back(); }},
      {"consecutive", [](RaggedBatch& b) { b.positions[1] = 62; }},
      {"consecutive", [](RaggedBatch& b) { b.positions[2] = std::numeric_limits<int32_t>::min(); }},
      {"positions -1 to", [](RaggedBatch& b) { b.positions[3] = -1; }},
      {"positions 256 to", [](RaggedBatch& b) { b.positions[3] = 256; }},
      {"sequence_starts", [](RaggedBatch& b) { b.sequence_starts[1] = 4; }},
      {"sequence_starts", [](RaggedBatch& b) { b.sequence_starts[1] = -3; }},
      {"sequence_starts", [](RaggedBatch& b) { b.sequence_starts.back() = 5; }},
      {"page_starts", [](RaggedBatch& b) { b.page_starts.pop_back(); }},
      {"page_starts", [](RaggedBatch& b) { b.page_starts[1] = 9; }},
      {"needs 2",
       [](RaggedBatch& b) {
         b.page_starts = {0, 1, 3};
       }},
      {"rows of logits",
       [](RaggedBatch& b) {
         b.logit_tokens = {0, 1, 2};
       }},
      {"logit token 4", [](RaggedBatch& b) { b.logit_tokens = {4}; }},
      {"logit token -1", [](RaggedBatch& b) { b.logit_tokens = {-1}; }},
      {"logit token 2",
       [](RaggedBatch& b) {
         b.logit_tokens = {2, 2};
       }},
  };
  for (const auto& c : cases) {
    RaggedBatch batch = Good();
    c.spoil(batch);
    const absl::Status status = CheckBatch(batch, kLimits);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.what << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.what));
  }
}

TEST(CheckWeightTest, RefusesWhatCannotBeComputedWith) {
  const float data[512] = {};
  const auto check = [&](DType dtype, const Shape& shape, WeightRole role, const void* bytes) {
    return CheckWeight({.view = {bytes, dtype, shape}, .owner = nullptr, .role = role});
  };
  EXPECT_TRUE(check(DType::kF32, {2, 3}, WeightRole::kLinear, data).ok());
  EXPECT_FALSE(check(DType::kF32, {6}, WeightRole::kLinear, data).ok());
  EXPECT_FALSE(check(DType::kF32, {2, 3}, WeightRole::kVector, data).ok());
  EXPECT_FALSE(check(DType::kF32, {2, 3}, WeightRole::kPerHead, data).ok());
  EXPECT_FALSE(check(DType::kF32, {2, 0}, WeightRole::kLinear, data).ok());
  EXPECT_FALSE(check(DType::kF32, {2, 3}, WeightRole::kLinear, nullptr).ok());
  EXPECT_FALSE(check(DType::kI32, {2, 3}, WeightRole::kLinear, data).ok());
  EXPECT_FALSE(check(DType::kQ4_0, {2, 33}, WeightRole::kLinear, data).ok());
}

TEST(ParseDeviceSpecTest, ReadsNamesAndRefusesOthers) {
  EXPECT_EQ(ParseDeviceSpec("cpu")->kind, DeviceSpec::Kind::kCpu);
  EXPECT_EQ(ParseDeviceSpec("cuda")->index, 0);
  EXPECT_EQ(ParseDeviceSpec("cuda:3")->index, 3);
  EXPECT_EQ(ParseDeviceSpec("cuda:3")->kind, DeviceSpec::Kind::kCuda);
  for (const char* bad : {"", "CPU", "cuda:", "cuda:-1", "cuda: 1", "cuda:+1", "cuda:1x",
                          "cuda:99999999999", "gpu", "cpu:0"}) {
    const auto spec = ParseDeviceSpec(bad);
    EXPECT_TRUE(absl::IsInvalidArgument(spec.status())) << bad;
    EXPECT_THAT(std::string(spec.status().message()), HasSubstr("cuda:N"));
  }
}

TEST(CreateCpuBackendTest, RefusesUnknownOptions) {
  EXPECT_TRUE(absl::IsInvalidArgument(CreateCpuBackend({.instruction_set = "neon"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(CreateCpuBackend({.threads = -1}).status()));
  const auto backend = CreateCpuBackend({.threads = 1});
  ASSERT_TRUE(backend.ok());
  EXPECT_THAT((*backend)->info().name, HasSubstr("1 threads"));
}

class ChecksTest : public BackendTest {};

TEST_P(ChecksTest, WrongShapesAreRefusedAndLeaveTheBackendAlive) {
  const WeightPtr weight =
      PackFloats(backend(), {4, 6}, std::vector<float>(24, 1.0f), WeightRole::kLinear);
  const WeightPtr vector =
      PackFloats(backend(), {6}, std::vector<float>(6, 1.0f), WeightRole::kVector);
  Activations in(backend(), {2, 6}, 1.0f);
  Activations out(backend(), {2, 4});
  Activations narrow(backend(), {2, 5});
  const auto invalid = [](const absl::Status& status, const char* what) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  const PackedWeight* w = weight.get();
  invalid(backend().Linear({.in = in.view(), .out = out.view()}), "missing");
  invalid(backend().Linear({.in = narrow.view(), .weight = w, .out = out.view()}), "in_features");
  invalid(backend().Linear({.in = in.view(), .weight = w, .out = narrow.view()}), "out_features");
  invalid(backend().Linear({.in = in.view(), .weight = w, .bias = vector.get(), .out = out.view()}),
          "bias");
  MutableTensorView half = in.view();
  half.dtype = DType::kBF16;
  invalid(backend().Linear({.in = half, .weight = w, .out = out.view()}), "bf16");
  invalid(backend().Norm({.in = narrow.view(), .weight = vector.get(), .out = narrow.view()}),
          "6 elements");
  invalid(backend().GatedActivation({.gate = in.view(), .up = narrow.view(), .out = in.view()}),
          "equal");
  invalid(
      backend().GatedLinear({.in = in.view(), .gate = w, .up_out = out.view(), .out = out.view()}),
      "missing");
  invalid(backend().GatedLinear(
              {.in = in.view(), .gate = w, .up = w, .up_out = narrow.view(), .out = out.view()}),
          "out_features");
  std::vector<float> values(3);
  invalid(backend().Read(out.view(), absl::MakeSpan(values)), "elements");
  EXPECT_TRUE(backend().Linear({.in = in.view(), .weight = w, .out = out.view()}).ok());
  const LinearArgs good{.in = in.view(), .weight = w, .out = out.view()};
  invalid(backend().LinearGroup({}), "empty");
  invalid(backend().LinearGroup({{good, {.in = in.view(), .out = out.view()}}}), "missing");
  Activations other(backend(), {2, 6});
  invalid(backend().LinearGroup({{good, {.in = other.view(), .weight = w, .out = out.view()}}}),
          "more than one");
  EXPECT_EQ(out.Read(), std::vector<float>(8, 6.0f));
}

TEST_P(ChecksTest, StoreTooLargeForTheMachineIsRefused) {
  const auto store = backend().CreateKvStore({.num_layers = 1 << 12, .first_dim = 1 << 16},
                                             std::numeric_limits<int>::max());
  EXPECT_TRUE(absl::IsResourceExhausted(store.status())) << store.status();
}

TEST_P(ChecksTest, HeadsMustBeWholeGroups) {
  ASSERT_TRUE(backend().Prepare(kLimits).ok());
  ASSERT_TRUE(backend().Begin(MakeBatch({{0, 1, {0}}})).ok());
  const auto store = backend().CreateKvStore(
      {.num_layers = 1, .first_dim = 24, .second_dim = 24, .dtype = DType::kI8, .group = 8}, 1);
  ASSERT_TRUE(store.ok()) << store.status();
  Activations heads(backend(), {1, 2, 12});
  const WeightPtr inv_freq = PackFloats(backend(), {1}, {1.0f}, WeightRole::kVector);
  for (const absl::Status& status :
       {backend().GqaCacheWrite({.q = heads.view(),
       .k = heads.view(),
       .v = heads.view(),
       .inv_freq = inv_freq.get(),
       .store = store->get()}),
        backend().GqaAttention(
            {.q = heads.view(), .store = store->get(), .scale = 1.0f, .out = heads.view()})}) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("head_dim 12"));
  }
}

INSTANTIATE_BACKENDS(ChecksTest);

KvLayout Int8Layout(int group) {
  return {.num_layers = 3, .first_dim = 144, .second_dim = 10, .dtype = DType::kI8, .group = group};
}

TEST(KvLayoutTest, CountsScalesAndRopeKeys) {
  EXPECT_EQ(Int8Layout(128).BytesPerToken(), 3 * (144 + 2 * 4 + 10 + 4));
  KvLayout mla = Int8Layout(128);
  mla.attention = AttentionKind::kMla;
  EXPECT_EQ(mla.BytesPerToken(), 3 * (144 + 2 * 4 + 10 * 2));
  EXPECT_EQ(mla.BytesPerPage(), kPageTokens * mla.BytesPerToken());
  mla.dtype = DType::kF16;
  EXPECT_EQ(mla.BytesPerToken(), 3 * (144 + 10) * 2);
}

TEST(KvLayoutTest, ChecksTypeAndGroup) {
  for (const int group : {1, 24, kMaxKvGroup}) {
    EXPECT_TRUE(CheckKvLayout(Int8Layout(group), 1).ok()) << group;
  }
  for (const int group : {-1, 0, kMaxKvGroup + 1}) {
    const absl::Status status = CheckKvLayout(Int8Layout(group), 1);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("group"));
  }
  KvLayout layout = Int8Layout(8);
  layout.dtype = DType::kBF16;
  EXPECT_THAT(std::string(CheckKvLayout(layout, 1).message()), HasSubstr("no scales"));
  layout.dtype = DType::kQ8_0;
  EXPECT_THAT(std::string(CheckKvLayout(layout, 1).message()), HasSubstr("q8_0"));
}

TEST(KvLayoutTest, TypesHaveNames) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    EXPECT_EQ(ParseCacheDType(CacheDTypeName(dtype)), dtype);
    EXPECT_THAT(std::string(kCacheDTypeChoice), HasSubstr(std::string(CacheDTypeName(dtype))));
  }
  EXPECT_EQ(CacheDTypeName(DType::kI8), "int8");
  for (const char* name : {"", "i8", "f64", "q8_0", "INT8"}) EXPECT_FALSE(ParseCacheDType(name));
}

// A backend that fails once on its device.
class FailingBackend : public Backend {
 public:
  DeviceInfo info() const override { return {.name = "failing"}; }
  absl::Status next;
  int calls = 0;

 private:
  absl::StatusOr<WeightPtr> DoPack(const WeightSource&) override { return Fail(); }
  absl::StatusOr<std::unique_ptr<KvStore>> DoCreateKvStore(const KvLayout&, int) override {
    return Fail();
  }
  absl::StatusOr<std::unique_ptr<DeviceTensor>> DoNewTensor(const Shape&) override {
    return Fail();
  }
  absl::Status DoPrepare(const StepLimits&) override { return Fail(); }
  absl::Status DoBegin(const RaggedBatch&) override { return Fail(); }
  absl::Status DoEmbedding(const EmbeddingArgs&) override { return Fail(); }
  absl::Status DoNorm(const NormArgs&) override { return Fail(); }
  absl::Status DoLinear(const LinearArgs&) override { return Fail(); }
  absl::Status DoPerHeadLinear(const PerHeadLinearArgs&) override { return Fail(); }
  absl::Status DoGqaCacheWrite(const GqaCacheWriteArgs&) override { return Fail(); }
  absl::Status DoMlaCacheWrite(const MlaCacheWriteArgs&) override { return Fail(); }
  absl::Status DoGqaAttention(const GqaAttentionArgs&) override { return Fail(); }
  absl::Status DoMlaAttention(const MlaAttentionArgs&) override { return Fail(); }
  absl::Status DoMlaExpandedAttention(const MlaExpandedAttentionArgs&) override { return Fail(); }
  absl::Status DoGatedActivation(const GatedActivationArgs&) override { return Fail(); }
  absl::Status DoRoute(const RouteArgs&) override { return Fail(); }
  absl::Status DoGatherRows(const GatherRowsArgs&) override { return Fail(); }
  absl::Status DoCombineRows(const CombineRowsArgs&) override { return Fail(); }
  absl::StatusOr<absl::Span<const float>> DoFinish(const LogitsArgs&) override { return Fail(); }
  absl::Status DoRead(const TensorView&, absl::Span<float>) override { return Fail(); }
  absl::Status DoWrite(absl::Span<const float>, const MutableTensorView&) override {
    return Fail();
  }
  absl::Status DoCopyPages(KvStore*, absl::Span<const std::pair<PageId, PageId>>) override {
    return Fail();
  }
  absl::Status Fail() {
    ++calls;
    return next;
  }
};

TEST(BackendDeathTest, FatalErrorsAreRememberedAndOthersAreNot) {
  FailingBackend backend;
  float value = 0;
  const MutableTensorView tensor{&value, DType::kF32, {1}};
  const auto write = [&] { return backend.Write({1.0f}, tensor); };
  backend.next = absl::ResourceExhaustedError("full");
  EXPECT_TRUE(absl::IsResourceExhausted(write()));
  backend.next = absl::OkStatus();
  EXPECT_TRUE(write().ok());
  backend.next = absl::InternalError("bus error");
  EXPECT_TRUE(absl::IsInternal(write()));
  EXPECT_EQ(backend.calls, 3);
  backend.next = absl::UnavailableError("later");
  EXPECT_EQ(write(), absl::InternalError("bus error"));
  EXPECT_EQ(backend.NewTensor({1}).status(), absl::InternalError("bus error"));
  EXPECT_EQ(backend.Prepare(kLimits), absl::InternalError("bus error"));
  EXPECT_EQ(backend.calls, 3);
}

}  // namespace
}  // namespace transmla
