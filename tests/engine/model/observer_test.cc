// What a DecoderObserver sees, which calibration relies on.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/check.h"
#include "tests/engine/model/model_runner.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;

// Writes down every call as "what layer: shapes".
class Recorder : public DecoderObserver {
 public:
  absl::Status OnAttentionInput(int layer, const TensorView& hidden) override {
    return Record("input", layer, {hidden});
  }
  absl::Status OnProjections(int layer, const TensorView& q, const TensorView& k,
                             const TensorView& v) override {
    return Record("projections", layer, {q, k, v});
  }
  absl::Status OnLatentProjections(int layer, const TensorView& q, const TensorView& kv) override {
    return Record("latent projections", layer, {q, kv});
  }
  absl::Status OnAttentionOutput(int layer, const TensorView& attention) override {
    return Record("attention", layer, {attention});
  }
  absl::Status OnLayerOutput(int layer, const TensorView& hidden) override {
    return Record("output", layer, {hidden});
  }

  std::vector<std::string> calls;

 private:
  absl::Status Record(absl::string_view what, int layer, const std::vector<TensorView>& tensors) {
    std::string call = absl::StrCat(what, " ", layer, ":");
    for (const TensorView& tensor : tensors) absl::StrAppend(&call, " ", tensor.shape.ToString());
    calls.push_back(std::move(call));
    return absl::OkStatus();
  }
};

std::unique_ptr<ModelRunner> Open(const char* folder) {
  auto runner = ModelRunner::Open(
      absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/tiny_models/", folder), {});
  CHECK_OK(runner.status());
  return *std::move(runner);
}

TEST(ObserverTest, SeesGqaLayersInOrder) {
  Recorder recorder;
  ASSERT_TRUE(
      Open("qwen2")->Step({{0, {1, 2, 3}}}, ModelRunner::Logits::kAllTokens, &recorder).ok());
  EXPECT_THAT(recorder.calls,
              ElementsAre("input 0: [3, 64]", "projections 0: [3, 4, 16] [3, 2, 16] [3, 2, 16]",
                          "attention 0: [3, 4, 16]", "output 0: [3, 64]", "input 1: [3, 64]",
                          "projections 1: [3, 4, 16] [3, 2, 16] [3, 2, 16]",
                          "attention 1: [3, 4, 16]", "output 1: [3, 64]"));
}

TEST(ObserverTest, SeesMlaLayersInOrder) {
  Recorder recorder;
  ASSERT_TRUE(
      Open("mla_q_lora")->Step({{0, {1, 2}}}, ModelRunner::Logits::kAllTokens, &recorder).ok());
  EXPECT_THAT(recorder.calls,
              ElementsAre("input 0: [2, 64]", "latent projections 0: [2, 4, 24] [2, 40]",
                          "attention 0: [2, 4, 12]", "output 0: [2, 64]", "input 1: [2, 64]",
                          "latent projections 1: [2, 4, 24] [2, 40]", "attention 1: [2, 4, 12]",
                          "output 1: [2, 64]"));
}

TEST(ObserverTest, WatchingChangesNothing) {
  Recorder recorder;
  const auto watched =
      Open("llama_tied")->Step({{0, {5, 6, 7}}}, ModelRunner::Logits::kAllTokens, &recorder);
  const auto alone = Open("llama_tied")->Step({{0, {5, 6, 7}}});
  ASSERT_TRUE(watched.ok());
  ASSERT_TRUE(alone.ok());
  EXPECT_TRUE(*watched == *alone);
}

TEST(ObserverTest, ItsErrorEndsTheStep) {
  class Failing : public DecoderObserver {
    absl::Status OnLayerOutput(int layer, const TensorView&) override {
      return layer == 0 ? absl::CancelledError("enough") : absl::OkStatus();
    }
  };
  Failing failing;
  const auto result =
      Open("llama_tied")->Step({{0, {5}}}, ModelRunner::Logits::kAllTokens, &failing);
  EXPECT_EQ(result.status(), absl::CancelledError("enough"));
}

}  // namespace
}  // namespace transmla
