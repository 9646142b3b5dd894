// Refitted projections solve the least squares of docs/conversion.md, section 11, judged by sums in
// plain float64 loops over what the layers' attention gives.
#include "engine/convert/output_refit.h"

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "engine/base/file.h"
#include "engine/base/random.h"
#include "engine/convert/equivalent.h"
#include "engine/convert/latent_checkpoint.h"
#include "engine/convert/latent_model.h"
#include "engine/convert/plan.h"
#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using testing::TempFolder;
using testing::TinyContext;
using testing::TinyModel;

absl::Status GoOn(int, int) { return absl::OkStatus(); }

// What output projections see, [tokens, H·Dv].
class Attended : public DecoderObserver {
 public:
  explicit Attended(Backend& backend) : backend_(backend) {}
  absl::Status OnAttentionOutput(int, const TensorView& attended) override {
    std::vector<float> part(attended.shape.elements());
    const absl::Status status = backend_.Read(attended, absl::MakeSpan(part));
    values.insert(values.end(), part.begin(), part.end());
    return status;
  }
  std::vector<float> values;

 private:
  Backend& backend_;
};

// A source, and its equivalent whose values are damaged, with an output bias if the source has
// none.
struct Models {
  explicit Models(const std::string& name) {
    const auto checkpoint = OpenCheckpoint(TinyModel(name));
    CHECK_OK(checkpoint.status());
    spec = *ReadModelSpec(**checkpoint);
    weights = std::make_unique<SourceWeights>(*SourceWeights::Create(*checkpoint, spec));
    backend = *TinyContext().make_backend();
    source = WholeModel(*checkpoint, spec, *backend);
    work = *WorkFolder::Open(*PosixFileSystem(), folder.File("model"), "job");
    Random random(3);
    for (const int length : {37, 41, 29, 23, 53, 31}) {
      std::vector<int32_t>& ids = text.emplace_back(length);
      for (int32_t& id : ids) id = static_cast<int32_t>(random.Below(400));
    }
    const ConvertOptions options{.recipe = Recipe::kEquivalent};
    LatentBiases biases = ResolveBiases(options, spec);
    biases.output = !spec.output_bias;
    auto model = LatentModel(
        {.source = weights.get(),
         .config = LatentConfig(*weights, ResolveShape(options, spec), biases,
                                ResolveAttentionScale(options, spec)),
         .inv_freq =
             [this] {
               std::vector<std::vector<float>> all;
               for (const std::vector<float>& own : spec.inv_freq) {
                 all.emplace_back();
                 for (int head = 0; head < spec.gqa.num_key_value_heads; ++head)
                   all.back().insert(all.back().end(), own.begin(), own.end());
               }
               return all;
             },
         .layer = [this](int layer) -> absl::StatusOr<LatentWeights> { return Layer(layer); }},
        *backend, &result_spec);
    CHECK_OK(model.status());
    result.model = *std::move(model);
    result.bias = [this](int) -> absl::StatusOr<std::vector<double>> { return Bias(); };
    result.has = [this](int layer) { return kept.contains(layer); };
    result.keep = [this](int layer, const Matrix& output, const std::vector<double>& bias) {
      kept[layer] = {output, bias};
      return absl::OkStatus();
    };
  }

  std::vector<double> Bias() const {
    return spec.output_bias ? std::vector<double>() : std::vector<double>(spec.hidden_size, 0.01);
  }

  LatentWeights Layer(int layer) const {
    const auto attention = weights->Attention(layer);
    CHECK_OK(attention.status());
    LatentWeights latent = BuildEquivalentLayer(*attention, spec.gqa, spec.inv_freq[layer]);
    Random random(11 + layer);
    for (double& value : latent.kv_b.values()) value *= 1 + 0.3 * random.Normal();
    latent.o_bias = Bias();
    if (const auto found = kept.find(layer); found != kept.end())
      std::tie(latent.o, latent.o_bias) = found->second;
    return latent;
  }

  absl::Status Refit() {
    return RefitOutputs(*work, "refit", source, *weights, result, text,
                        [](int, int, int) { return absl::OkStatus(); });
  }

  TempFolder folder;
  ModelSpec spec, result_spec;
  std::unique_ptr<SourceWeights> weights;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<WorkFolder> work;
  std::vector<std::vector<int32_t>> text;
  LayeredModel source;
  RefittedModel result;
  std::map<int, std::pair<Matrix, std::vector<double>>> kept;
};

// A model's streams before `layer` and what that layer's projection sees.
struct Seen {
  std::vector<float> streams, attended;
};
Seen RunTo(Models& models, const LayeredModel& model, int layer) {
  LayerStreams streams(*models.work, "seen", model, models.text);
  CHECK_OK(streams.Embed());
  for (int before = 0; before < layer; ++before)
    CHECK_OK(streams.Run(before, nullptr, GoOn).status());
  Attended attended(*models.backend);
  CHECK_OK(streams.Attend(layer, attended, GoOn));
  const auto file = streams.Before(layer);
  CHECK_OK(file.status());
  const auto* values = reinterpret_cast<const float*>((*file)->bytes().data());
  return {{values, values + (*file)->size() / sizeof(float)}, std::move(attended.values)};
}

class OutputRefitTest : public ::testing::TestWithParam<const char*> {};

TEST_P(OutputRefitTest, SolvesTheLeastSquares) {
  Models models(GetParam());
  ASSERT_TRUE(models.Refit().ok());
  ASSERT_EQ(models.kept.size(), static_cast<size_t>(models.spec.num_layers));
  for (int layer = 0; layer < models.spec.num_layers; ++layer) {
    SCOPED_TRACE(layer);
    const Seen source = RunTo(models, models.source, layer);
    const Seen result = RunTo(models, models.result.model, layer);
    const Matrix before = *models.weights->Output(layer);
    const auto& [output, bias] = models.kept[layer];
    const int64_t hidden = output.rows(), inner = output.cols();
    const int64_t tokens = static_cast<int64_t>(source.streams.size()) / hidden;
    const int64_t width = inner + (bias.empty() ? 0 : 1);
    const double share = models.spec.post_norms ? 0 : 0.25;
    // At the minimum of Σ w·‖r − W·y‖² + ridge·‖W − W₀‖² its gradient is zero.
    Matrix gradient(hidden, width), size(hidden, width);
    double trace = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      double square = 0;
      for (int64_t i = 0; i < hidden; ++i)
        square += std::pow(double{source.streams[t * hidden + i]}, 2);
      const double weight = 1 / (square / static_cast<double>(hidden) + models.spec.norm_eps);
      std::vector<double> y(width, 1.0);
      for (int64_t j = 0; j < inner; ++j) y[j] = result.attended[t * inner + j];
      for (const double value : y) trace += weight * value * value;
      for (int64_t i = 0; i < hidden; ++i) {
        double lacking = share * (double{source.streams[t * hidden + i]} -
                                  double{result.streams[t * hidden + i]});
        double sizes = std::abs(lacking);
        for (int64_t j = 0; j < inner; ++j) {
          const double wanted = before(i, j) * source.attended[t * inner + j];
          const double given = output(i, j) * y[j];
          lacking += wanted - given;
          sizes += std::abs(wanted) + std::abs(given);
        }
        if (!bias.empty()) lacking -= bias[i];
        for (int64_t j = 0; j < width; ++j) {
          gradient(i, j) += weight * lacking * y[j];
          size(i, j) += std::abs(weight * sizes * y[j]);
        }
      }
    }
    const double ridge = trace / (4 * static_cast<double>(tokens));
    // Sums of `inner` products and then of `tokens` in float32: errors of 2^-24 of what is summed
    // up, which add up as a random walk does, and a few more.
    const double error = std::ldexp(1.0, -24) * (std::sqrt(static_cast<double>(inner)) +
                                                 std::sqrt(static_cast<double>(tokens)) + 8);
    double moved_most = 0;
    for (int64_t i = 0; i < hidden; ++i) {
      for (int64_t j = 0; j < width; ++j) {
        const double moved = j < inner ? output(i, j) - before(i, j) : bias[i] - models.Bias()[i];
        moved_most = std::max(moved_most, std::abs(ridge * moved) / (error * size(i, j)));
        ASSERT_NEAR(gradient(i, j), ridge * moved, error * size(i, j)) << i << " " << j;
      }
    }
    // What is compared stands well above its error.
    EXPECT_GT(moved_most, 100);
  }
}

TEST_P(OutputRefitTest, GoesOnBehindALayerThatIsDone) {
  Models whole(GetParam()), resumed(GetParam());
  ASSERT_TRUE(whole.Refit().ok());
  int calls = 0;
  const absl::Status stopped = RefitOutputs(
      *resumed.work, "refit", resumed.source, *resumed.weights, resumed.result, resumed.text,
      [&](int layer, int, int) {
        return layer == 0 || ++calls < 2 ? absl::OkStatus() : absl::CancelledError("stop");
      });
  ASSERT_TRUE(absl::IsCancelled(stopped)) << stopped;
  resumed.kept.erase(1);
  int first = -1;
  ASSERT_TRUE(RefitOutputs(*resumed.work, "refit", resumed.source, *resumed.weights, resumed.result,
                           resumed.text,
                           [&](int layer, int, int) {
                             if (first < 0) first = layer;
                             return absl::OkStatus();
                           })
                  .ok());
  EXPECT_EQ(first, 1);
  for (const auto& [layer, projection] : whole.kept) {
    const Matrix& output = resumed.kept[layer].first;
    ASSERT_EQ(output.values().size(), projection.first.values().size());
    for (size_t i = 0; i < output.values().size(); ++i)
      ASSERT_EQ(output.values()[i], projection.first.values()[i]);
    EXPECT_EQ(resumed.kept[layer].second, projection.second);
  }
}

TEST_P(OutputRefitTest, StartsOverIfWhatWasKeptIsLost) {
  Models models(GetParam());
  ASSERT_TRUE(models.Refit().ok());
  const auto before = models.kept;
  models.kept.erase(0);
  ASSERT_TRUE(models.Refit().ok());
  ASSERT_EQ(models.kept.size(), before.size());
  for (const auto& [layer, projection] : before) {
    const Matrix& output = models.kept[layer].first;
    for (size_t i = 0; i < output.values().size(); ++i)
      ASSERT_EQ(output.values()[i], projection.first.values()[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, OutputRefitTest,
                         ::testing::Values("llama_tied", "qwen2", "gemma2", "qwen3", "mixtral",
                                           "llama_tied_q8_0_gguf/model.gguf"),
                         [](const auto& tested) {
                           const std::string name = tested.param;
                           return name.substr(0, name.find('/'));
                         });

}  // namespace
}  // namespace transmla
