// A conversion that is killed, at whatever moment, is gone on with by the next one of the same job,
// and gives what an undisturbed one gives.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

#include "engine/convert/work_folder.h"
#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using testing::FaultyFileSystem;
using testing::TempFolder;
using testing::TinyContext;
using testing::TinyOptions;

// All but the reports, which tell of time and memory.
std::map<std::string, std::string> ResultIn(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (absl::StartsWith(name, "transmla_report")) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    files[name] = std::string(std::istreambuf_iterator<char>(file), {});
  }
  return files;
}

ConvertOptions Options(Recipe recipe, const std::string& destination) {
  ConvertOptions options = TinyOptions("llama_tied", destination);
  options.recipe = recipe;
  options.freqfold = recipe == Recipe::kTransMla ? 4 : 0;
  options.nsamples = 2;
  options.evaluation_sequences = 1;
  return options;
}

// A change late enough for calibration to be done.
constexpr int kBehindCalibration = 26;

// Training of 5 steps of a sequence each, so records behind the 4th and the last.
constexpr int kRecoverySteps = 5;
constexpr int kSequenceOfAStep = 257;

ConvertOptions TrainedOptions(Recipe recipe, const std::string& destination) {
  ConvertOptions options = Options(recipe, destination);
  options.q_lora_rank = 20;
  options.seqlen = kSequenceOfAStep;
  options.recovery_tokens = kRecoverySteps * kSequenceOfAStep;
  return options;
}

struct Conversion {
  const char* name;
  ConvertOptions (*options)(Recipe recipe, const std::string& destination);
  Recipe recipe;
};

class ResumeTest : public ::testing::TestWithParam<Conversion> {
 protected:
  ConvertOptions OptionsTo(const std::string& destination) const {
    return GetParam().options(GetParam().recipe, destination);
  }
};

TEST_P(ResumeTest, AfterAKillAtAnyChangeTheResultIsTheSame) {
  const TempFolder folder;
  const ConvertOptions undisturbed = OptionsTo(folder.File("undisturbed"));
  ASSERT_TRUE(Convert(undisturbed, TinyContext()).ok());
  const std::map<std::string, std::string> expected = ResultIn(undisturbed.destination);

  ConvertOptions options = OptionsTo(folder.File("model"));
  options.overwrite = true;
  int most_resumed = 0;
  std::set<int64_t> resumed_steps;
  // Changes before recovery and behind it are those of the recipe without it.
  int killed = options.recovery_tokens > 0 ? kBehindCalibration : 0;
  for (bool enough = false; !enough;) {
    FaultyFileSystem files(++killed, absl::InternalError("killed"), /*for_good=*/true);
    files.Kill();
    ConversionContext context = TinyContext();
    context.files = &files;
    const absl::StatusOr<ConversionReport> first = Convert(options, context);
    const bool passed = files.changes() < killed;
    ASSERT_EQ(first.ok(), passed) << first.status();
    // Durability is not what is tested, and takes its time.
    FaultyFileSystem sound(0, absl::OkStatus(), false);
    context.files = &sound;
    const absl::StatusOr<ConversionReport> second = Convert(options, context);
    ASSERT_TRUE(second.ok()) << "killed at change " << killed << ": " << second.status();
    most_resumed = std::max(most_resumed, second->resumed_layers);
    if (second->recovery) resumed_steps.insert(second->recovery->resumed_tokens / kSequenceOfAStep);
    ASSERT_EQ(ResultIn(options.destination) == expected, true) << "killed at change " << killed;
    // The two results; nothing of the work is left beside them, nor of the killed conversion.
    ASSERT_EQ(folder.Count(), 2) << "killed at change " << killed;
    enough = passed || resumed_steps.contains(kRecoverySteps);
  }
  // A lossless conversion calibrates nothing.
  EXPECT_EQ(most_resumed, options.recipe == Recipe::kEquivalent ? 0 : testing::kTinyLayers);
  EXPECT_GT(killed, 30);
  if (options.recovery_tokens > 0) {
    EXPECT_EQ(resumed_steps, (std::set<int64_t>{0, 4, kRecoverySteps}));
  }
}

INSTANTIATE_TEST_SUITE_P(Recipes, ResumeTest,
                         ::testing::Values(Conversion{"best", Options, Recipe::kBest},
                                           Conversion{"transmla", Options, Recipe::kTransMla},
                                           Conversion{"equivalent", Options, Recipe::kEquivalent},
                                           Conversion{"best_and_recovery", TrainedOptions,
                                                      Recipe::kBest}),
                         [](const auto& tested) { return std::string(tested.param.name); });

// Kills after that many changes; what the work folder holds then.
void KillAt(const ConvertOptions& options, int change) {
  FaultyFileSystem files(change, absl::InternalError("killed"), /*for_good=*/true);
  files.Kill();
  ConversionContext context = TinyContext();
  context.files = &files;
  ASSERT_FALSE(Convert(options, context).ok());
}

TEST(TakeOverTest, AnotherJobStartsAnew) {
  const TempFolder folder;
  ConvertOptions options = Options(Recipe::kBest, folder.File("model"));
  KillAt(options, kBehindCalibration);
  options.seed = 43;
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->resumed_layers, 0);
}

TEST(TakeOverTest, AShutdownKeepsWhatACancellationDoesNot) {
  const TempFolder folder;
  const ConvertOptions options = Options(Recipe::kBest, folder.File("model"));
  for (const bool shutdown : {false, true}) {
    ConversionContext context = TinyContext();
    bool fitting = false;
    context.on_progress = [&](const ConversionProgress& progress) {
      fitting = progress.stage == ConversionStage::kCompress;
    };
    context.is_cancelled = [&] { return fitting; };
    context.keeps_work = [&] { return shutdown; };
    EXPECT_EQ(Convert(options, context).status().code(), absl::StatusCode::kCancelled);
    EXPECT_EQ(folder.Count(), shutdown ? 1 : 0);
  }
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->resumed_layers, testing::kTinyLayers);
  EXPECT_EQ(folder.Count(), 1);
}

TEST(TakeOverTest, DamagedRecordsAreComputedAnew) {
  const TempFolder folder;
  const ConvertOptions undisturbed = Options(Recipe::kBest, folder.File("undisturbed"));
  ASSERT_TRUE(Convert(undisturbed, TinyContext()).ok());
  const ConvertOptions options = Options(Recipe::kBest, folder.File("model"));
  KillAt(options, kBehindCalibration);
  int damaged = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(folder.File(".model.transmla-work"))) {
    if (entry.path().extension() != ".record") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    file.put('\x5a').put('\x5a');
    ++damaged;
  }
  EXPECT_GE(damaged, 3);  // the text and two layers
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->resumed_layers, 0);
  EXPECT_EQ(ResultIn(options.destination) == ResultIn(undisturbed.destination), true);
}

// Kills where training is done and its record the last there is.
TEST(TakeOverTest, ADamagedRecordOfTrainingIsComputedAnew) {
  const TempFolder folder;
  const ConvertOptions undisturbed = TrainedOptions(Recipe::kBest, folder.File("undisturbed"));
  ASSERT_TRUE(Convert(undisturbed, TinyContext()).ok());
  const ConvertOptions options = TrainedOptions(Recipe::kBest, folder.File("model"));
  const std::string record = folder.File(".model.transmla-work/recovery.record");
  for (int change = kBehindCalibration; !std::filesystem::exists(record); ++change)
    KillAt(options, change);
  {
    std::fstream file(record, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(std::filesystem::file_size(record) / 2));
    file.put('\x5a').put('\x5a');
  }
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->resumed_layers, testing::kTinyLayers);
  EXPECT_EQ(report->recovery->resumed_tokens, 0);
  EXPECT_EQ(ResultIn(options.destination) == ResultIn(undisturbed.destination), true);
}

TEST(WorkFolderTest, KeepsRecordsOfItsJobOnly) {
  const TempFolder folder;
  const std::string destination = folder.File("model");
  FileSystem& files = *PosixFileSystem();
  {
    const auto work = WorkFolder::Open(files, destination, "one");
    ASSERT_TRUE(work.ok()) << work.status();
    ASSERT_TRUE((*work)->Write("a.record", "bytes").ok());
    EXPECT_EQ(*(*work)->Read("a.record"), "bytes");
    EXPECT_EQ((*work)->Read("b.record").status().code(), absl::StatusCode::kNotFound);
    // Another process of the same job would find it; one of another job does not.
    EXPECT_EQ(*(*WorkFolder::Open(files, destination, "one"))->Read("a.record"), "bytes");
  }
  EXPECT_EQ(folder.Count(), 0);
}

}  // namespace
}  // namespace transmla
