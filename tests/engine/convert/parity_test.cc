// Our `transmla` recipe beside TransMLA's published code on 16 short sequences that SmolLM2 itself
// wrote: their ids, and every layer's bases, are in the fixture.
// bench/conversion/check_parity does the same at eight settings on the whole texts.
#include <cmath>
#include <filesystem>
#include <memory>

#include "gtest/gtest.h"

#include "engine/backend/cpu/create.h"
#include "engine/base/file.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/loaded_model.h"
#include "engine/convert/text.h"
#include "engine/convert/work_folder.h"
#include "engine/format/checkpoint.h"
#include "tests/engine/convert/published_run.h"
#include "tests/testing/real_models.h"
#include "tests/testing/temp_folder.h"

namespace transmla::testing {
namespace {

// Bases are recorded in half precision: 2^-11 of an element of size 1 is 0.03 degrees. Float32
// activations turn a direction by as much as it lacks a gap to the next eigenvalue.
constexpr double kMaxAngle = 0.1;  // degrees

// Relative, of perplexities and key divisors: a tenth of the 1 % that counts as the same recipe. Of
// it 1.5e-4 is the published code's, which sums exp(logits) of 49,152 words in float32 one by one.
constexpr double kTolerance = 1e-3;

TEST(ParityTest, SmolLm2AgreesWithThePublishedCodeInEveryLayer) {
  const std::string path = RealModelPath(kSmolLm2);
  ASSERT_TRUE(std::filesystem::exists(path)) << path << " is missing: run scripts/fetch-models";
  const absl::StatusOr<PublishedRun> published = ReadPublishedRun("smollm2_small");
  ASSERT_TRUE(published.ok()) << published.status();
  const absl::StatusOr<std::shared_ptr<const CheckpointReader>> checkpoint = OpenCheckpoint(path);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const absl::StatusOr<ModelSpec> spec = ReadModelSpec(**checkpoint);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const absl::StatusOr<SourceWeights> weights = SourceWeights::Create(*checkpoint, *spec);
  ASSERT_TRUE(weights.ok()) << weights.status();

  ConversionContext context;
  context.make_backend = [] { return CreateCpuBackend({}); };
  ParitySource source{.context = &context,
                      .weights = &*weights,
                      .calibration = published->calibration,
                      .evaluation = published->evaluation,
                      .partial_rope_evaluation = published->evaluation};
  const TempFolder folder;
  const absl::StatusOr<std::unique_ptr<WorkFolder>> work =
      WorkFolder::Open(*PosixFileSystem(), folder.File("parity"), "job");
  ASSERT_TRUE(work.ok()) << work.status();
  source.work = work->get();
  {
    const int length = static_cast<int>(published->evaluation[0].size());
    absl::StatusOr<LoadedModel> model = LoadModel(context, *checkpoint, EvaluationLimits(length));
    ASSERT_TRUE(model.ok()) << model.status();
    const absl::StatusOr<PerplexityResult> result = EvaluatePerplexity(
        {model->decoder.get(), model->backend.get()}, published->evaluation, DType::kF32);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_NEAR(result->perplexity / published->source_perplexity, 1, kTolerance);
  }

  for (const PublishedSetting& setting : published->settings) {
    const absl::StatusOr<ParityRow> row = RunParity(source, *published, setting, /*search=*/true);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_EQ(row->freqfold, setting.freqfold);
    EXPECT_NEAR(row->partial_rope_perplexity / setting.partial_rope_perplexity, 1, kTolerance);
    EXPECT_NEAR(row->perplexity / setting.perplexity, 1, kTolerance);
    EXPECT_EQ(row->layers_compared, spec->num_layers);
    EXPECT_LT(row->rope_angle, kMaxAngle);
    EXPECT_LT(row->latent_angle, kMaxAngle);
    EXPECT_LT(row->divisor_difference, kTolerance);
    RecordProperty("rope_angle", absl::StrCat(row->rope_angle));
    RecordProperty("latent_angle", absl::StrCat(row->latent_angle));
    RecordProperty("perplexity", absl::StrCat(row->perplexity));
    GTEST_LOG_(INFO) << setting.qk_rope_head_dim << " + " << setting.kv_lora_rank << ": perplexity "
                     << row->perplexity << ", published " << setting.perplexity << "; rope angle "
                     << row->rope_angle << "°, latent angle " << row->latent_angle << "°";
  }
}

}  // namespace
}  // namespace transmla::testing
