// Whatever ends a conversion early, its destination is as it was and nothing lies beside it.
#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/faulty_file_system.h"
#include "tests/testing/temp_folder.h"

namespace transmla {
namespace {

using testing::FaultyFileSystem;
using testing::TempFolder;
using testing::TinyContext;
using testing::TinyOptions;

// No evaluation and a given freqfold: the stages that write are all there, and it is quick.
ConvertOptions QuickOptions(const std::string& destination,
                            OutputFormat format = OutputFormat::kTransMla) {
  const bool gguf = format == OutputFormat::kGguf;
  ConvertOptions options =
      TinyOptions(gguf ? "llama_tied_q8_0_gguf/model.gguf" : "llama_tied", destination);
  options.format = format;
  options.evaluation_sequences = 0;
  options.freqfold = 4;
  options.nsamples = 1;
  return options;
}

struct Disk {
  absl::StatusCode code;
  const char* message;
  bool for_good;
  OutputFormat format;
};

class FaultTest : public ::testing::TestWithParam<Disk> {};

TEST_P(FaultTest, NoChangeThatFailsLeavesAnythingBehind) {
  const auto [code, message, for_good, format] = GetParam();
  const TempFolder folder;
  const ConvertOptions options = QuickOptions(folder.File("model"), format);
  int failing = 0;
  for (bool passed = false; !passed;) {
    FaultyFileSystem files(++failing, absl::Status(code, message), for_good);
    ConversionContext context = TinyContext();
    context.files = &files;
    const absl::StatusOr<ConversionReport> report = Convert(options, context);
    passed = files.changes() < failing;
    if (passed) {
      EXPECT_TRUE(report.ok()) << report.status();
    } else {
      ASSERT_FALSE(report.ok()) << "change " << failing << " failed, the conversion did not";
      EXPECT_EQ(report.status().code(), code) << report.status();
      EXPECT_TRUE(absl::StrContains(report.status().message(), message)) << report.status();
      ASSERT_EQ(folder.Count(), 0) << "after change " << failing;
    }
  }
  // Folder, weights, config, tokenizer, report: each is created, written, synced and renamed.
  EXPECT_GT(failing, 20);
}

TEST_P(FaultTest, WhatWasToBeOverwrittenSurvives) {
  const auto [code, message, for_good, format] = GetParam();
  int failing = 0;
  for (bool passed = false; !passed;) {
    const TempFolder folder;
    ConvertOptions options = QuickOptions(folder.File("model"), format);
    options.overwrite = true;
    ASSERT_TRUE(PosixFileSystem()->CreateFolder(options.destination).ok());
    folder.Write("model/config.json", "old");
    FaultyFileSystem files(++failing, absl::Status(code, message), for_good);
    ConversionContext context = TinyContext();
    context.files = &files;
    const absl::StatusOr<ConversionReport> report = Convert(options, context);
    passed = files.changes() < failing;
    if (passed) {
      EXPECT_TRUE(report.ok()) << report.status();
      EXPECT_NE(folder.Read("model/config.json"), "old");
      EXPECT_EQ(folder.Count(), 1);
      continue;
    }
    ASSERT_FALSE(report.ok());
    EXPECT_EQ(report.status().code(), code) << report.status();
    // When even putting it back fails, the message says where the old folder is.
    const bool aside = absl::StrContains(report.status().message(), ".model.transmla-old");
    EXPECT_EQ(folder.Read(aside ? ".model.transmla-old/config.json" : "model/config.json"), "old")
        << "after change " << failing << ": " << report.status();
    EXPECT_TRUE(!aside || for_good) << report.status();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Disks, FaultTest,
    ::testing::Values(Disk{absl::StatusCode::kResourceExhausted, "no space left on device", true,
                           OutputFormat::kTransMla},
                      Disk{absl::StatusCode::kPermissionDenied, "read-only file system", false,
                           OutputFormat::kTransMla},
                      Disk{absl::StatusCode::kResourceExhausted, "no space left on device", true,
                           OutputFormat::kGguf},
                      Disk{absl::StatusCode::kPermissionDenied, "read-only file system", false,
                           OutputFormat::kGguf}));

TEST(CancelTest, LeavesNothingWheneverItComes) {
  const TempFolder folder;
  ConvertOptions options = TinyOptions("llama_tied", folder.File("model"));
  options.nsamples = 2;
  int asked_to_cancel = 0;
  for (bool passed = false; !passed;) {
    ++asked_to_cancel;
    ConversionContext context = TinyContext();
    int asked = 0;
    context.is_cancelled = [&] { return ++asked == asked_to_cancel; };
    const absl::StatusOr<ConversionReport> report = Convert(options, context);
    passed = asked < asked_to_cancel;
    if (passed) {
      EXPECT_TRUE(report.ok()) << report.status();
    } else {
      EXPECT_EQ(report.status().code(), absl::StatusCode::kCancelled) << report.status();
      ASSERT_EQ(folder.Count(), 0) << "cancelled at question " << asked_to_cancel;
    }
  }
  // Seven stages, and in them every layer and sequence.
  EXPECT_GT(asked_to_cancel, 14);
}

TEST(CancelTest, RemovesWhatAKilledConversionLeft) {
  const TempFolder folder;
  ASSERT_TRUE(PosixFileSystem()->CreateFolder(folder.File(".model.transmla-partial")).ok());
  folder.Write(".model.transmla-partial/model.safetensors", "half");
  const ConvertOptions options = QuickOptions(folder.File("model"));
  const absl::StatusOr<ConversionReport> report = Convert(options, TinyContext());
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(folder.Count(), 1);
}

}  // namespace
}  // namespace transmla
