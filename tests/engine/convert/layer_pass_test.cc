// A model run layer by layer computes what it computes as a whole, bit for bit.
#include "engine/convert/layer_pass.h"

#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "engine/base/check.h"
#include "engine/base/random.h"
#include "engine/convert/sequence_runner.h"
#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using testing::TempFolder;
using testing::TinyContext;
using testing::TinyModel;

// Lengths that divide nothing; the long one needs two steps, and short ones share one.
std::vector<std::vector<int32_t>> Sequences(const std::vector<int>& lengths) {
  Random random(5);
  std::vector<std::vector<int32_t>> sequences;
  for (const int length : lengths) {
    std::vector<int32_t>& ids = sequences.emplace_back(length);
    for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(400));
  }
  return sequences;
}

// The residual stream behind the last layer, of all tokens, and the steps that it saw.
class LastLayer : public DecoderObserver {
 public:
  LastLayer(Backend& backend, int layers) : backend_(backend), last_(layers - 1) {}
  absl::Status OnLayerOutput(int layer, const TensorView& hidden) override {
    if (layer != last_) return absl::OkStatus();
    std::vector<float> values(hidden.shape.elements());
    const absl::Status status = backend_.Read(hidden, absl::MakeSpan(values));
    streams.insert(streams.end(), values.begin(), values.end());
    return status;
  }
  std::vector<float> streams;

 private:
  Backend& backend_;
  const int last_;
};

class LayerPassTest : public ::testing::TestWithParam<const char*> {};

TEST_P(LayerPassTest, GivesTheResidualStreamsOfTheWholeModel) {
  for (const std::vector<int>& lengths : {std::vector<int>{37, 41, 1, 29}, {600, 13}}) {
    const TempFolder folder;
    const std::vector<std::vector<int32_t>> sequences = Sequences(lengths);
    const auto checkpoint = OpenCheckpoint(TinyModel(GetParam()));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const auto spec = ReadModelSpec(**checkpoint);
    ASSERT_TRUE(spec.ok()) << spec.status();
    const auto backend = TinyContext().make_backend();
    ASSERT_TRUE(backend.ok()) << backend.status();
    const auto work = WorkFolder::Open(*PosixFileSystem(), folder.File("model"), "job");
    ASSERT_TRUE(work.ok()) << work.status();
    int reported = 0;
    LayerPass pass(**work, "pass", WholeModel(*checkpoint, *spec, **backend), sequences,
                   [&](int layer, int done, int total) {
                     EXPECT_LT(layer, spec->num_layers);
                     EXPECT_LE(done, total);
                     ++reported;
                     return absl::OkStatus();
                   });
    const auto streams = pass.Run();
    ASSERT_TRUE(streams.ok()) << streams.status();
    EXPECT_GE(reported, spec->num_layers);

    const auto whole_backend = TinyContext().make_backend();
    ASSERT_TRUE(whole_backend.ok());
    const auto decoder = LoadDecoder(*checkpoint, whole_backend->get(),
                                     {.max_tokens = 32,
                                      .max_sequences = 1,
                                      .max_logit_tokens = 1,
                                      .max_context_tokens = lengths[0] + 8});
    ASSERT_TRUE(decoder.ok()) << decoder.status();
    LastLayer observer(**whole_backend, spec->num_layers);
    for (const std::vector<int32_t>& ids : sequences) {
      auto runner = SequenceRunner::Create(**decoder, **whole_backend, DType::kF32, 1,
                                           static_cast<int>(ids.size()));
      ASSERT_TRUE(runner.ok()) << runner.status();
      for (size_t at = 0; at < ids.size(); at += 32)
        ASSERT_TRUE(runner
                        ->Run({{.position = static_cast<int>(at),
                                .tokens = absl::MakeConstSpan(ids).subspan(at, 32)}},
                              &observer)
                        .ok());
    }
    const absl::string_view bytes = (*streams)->bytes();
    ASSERT_EQ(bytes.size(), observer.streams.size() * sizeof(float));
    EXPECT_EQ(std::memcmp(bytes.data(), observer.streams.data(), bytes.size()), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, LayerPassTest,
                         ::testing::Values("llama_tied", "llama_untied_scaled_f16_gguf/model.gguf",
                                           "qwen2", "mixtral", "gemma3", "phi3_longrope", "mla"),
                         [](const auto& tested) {
                           const std::string name = tested.param;
                           return name.substr(0, name.find('/'));
                         });

}  // namespace
}  // namespace transmla
