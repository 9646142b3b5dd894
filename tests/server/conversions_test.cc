#include "server/conversions.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <sys/resource.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "google/rpc/error_details.pb.h"
#include <gtest/gtest.h>

#include "engine/base/error_reason.h"
#include "engine/base/thread.h"
#include "server/confined_path.h"
#include "server/limits.h"

namespace transmla {
namespace {

namespace fs = std::filesystem;
using google::longrunning::Operation;

class ConversionsTest : public ::testing::Test {
 protected:
  ConversionsTest() : root_(fs::path(::testing::TempDir()) / "conversion_root") {
    fs::remove_all(root_);
    fs::create_directories(root_ / "models");
    std::ofstream(root_ / "models" / "a.gguf") << "x";
  }

  // A converter that makes progress until it is cancelled or `release_` is notified.
  Converter Slow() {
    Converter converter;
    converter.plan = [](const ConvertOptions&) -> absl::StatusOr<ConversionReport> {
      ConversionReport report;
      report.num_layers = 4;
      report.cache_bytes_per_token_before = 100;
      report.cache_bytes_per_token_after = 30;
      return report;
    };
    converter.convert = [this, plan = converter.plan](
                            const ConvertOptions& options,
                            const ConversionContext& context) -> absl::StatusOr<ConversionReport> {
      ConversionProgress progress;
      progress.stage = ConversionStage::kCalibrate;
      progress.layer = 1;
      progress.layers = 4;
      progress.ratio = 0.25;
      context.on_progress(progress);
      while (!release_.WaitForNotificationWithTimeout(absl::Milliseconds(2))) {
        if (context.is_cancelled()) return absl::CancelledError("cancelled");
      }
      return plan(options);
    };
    return converter;
  }

  v1::ConvertModelRequest Request(const std::string& destination) {
    v1::ConvertModelRequest request;
    request.set_source("models/a.gguf");
    request.set_destination(destination);
    request.mutable_options()->set_sample_text(true);
    return request;
  }

  Operation WaitFor(const std::string& name, absl::Duration timeout) {
    absl::Notification done;
    Operation result;
    store_.Wait(
        name, timeout, [] { return false; },
        [&](const absl::StatusOr<Operation>& operation) {
          EXPECT_TRUE(operation.ok());
          result = *operation;
          done.Notify();
        });
    done.WaitForNotification();
    return result;
  }

  static v1::ConvertModelMetadata Metadata(const Operation& operation) {
    v1::ConvertModelMetadata metadata;
    EXPECT_TRUE(operation.metadata().UnpackTo(&metadata));
    return metadata;
  }

  const fs::path root_;
  absl::Notification release_;
  Metrics metrics_{"m", false};
  OperationStore store_{SystemClock()};
  ModelRegistry registry_{std::make_shared<ServedModel>("first", false)};
  // Finds no model anywhere.
  ModelLoader loader_{{.root = root_.string(),
                       .inspect = [](const std::string& path) -> absl::StatusOr<ModelInspection> {
                         return absl::NotFoundError(absl::StrCat(path, " is no model"));
                       }},
                      &registry_,
                      &store_};
};

TEST_F(ConversionsTest, RunsToItsReport) {
  Conversions conversions(root_, Slow(), SystemClock(), &store_, &metrics_, &loader_);
  const absl::StatusOr<Operation> started = conversions.Start(Request("out"));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_FALSE(started->done());
  Operation operation = WaitFor(started->name(), absl::Milliseconds(200));
  EXPECT_FALSE(operation.done()) << "the wait timed out";
  EXPECT_EQ(Metadata(operation).state(), v1::ConvertModelMetadata::STATE_RUNNING);
  EXPECT_EQ(Metadata(operation).stage(), "calibrate");
  EXPECT_EQ(Metadata(operation).progress_ratio(), 0.25);
  EXPECT_EQ(conversions.running(), 1);
  release_.Notify();
  operation = WaitFor(started->name(), absl::Seconds(20));
  ASSERT_TRUE(operation.done());
  EXPECT_EQ(Metadata(operation).state(), v1::ConvertModelMetadata::STATE_SUCCEEDED);
  v1::ConvertModelResponse response;
  ASSERT_TRUE(operation.response().UnpackTo(&response));
  EXPECT_EQ(response.cache_bytes_per_token_after(), 30u);
  EXPECT_TRUE(store_.Delete(started->name()).ok());
  EXPECT_TRUE(absl::IsNotFound(store_.Get(started->name()).status()));
}

TEST_F(ConversionsTest, CancelEndsARunningOne) {
  Conversions conversions(root_, Slow(), SystemClock(), &store_, &metrics_, &loader_);
  const auto started = conversions.Start(Request("out"));
  ASSERT_TRUE(started.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(store_.Delete(started->name())));
  ASSERT_TRUE(store_.Cancel(started->name()).ok());
  const Operation operation = WaitFor(started->name(), absl::Seconds(20));
  ASSERT_TRUE(operation.done());
  EXPECT_EQ(operation.error().code(), static_cast<int>(absl::StatusCode::kCancelled));
  EXPECT_EQ(Metadata(operation).state(), v1::ConvertModelMetadata::STATE_CANCELLED);
  EXPECT_TRUE(Metadata(operation).cancel_requested());
}

TEST_F(ConversionsTest, AWaitEndsWhenNobodyWaits) {
  const std::string name = store_.Create("x", v1::ConvertModelMetadata()).name();
  std::atomic<bool> gone{false};
  absl::Notification answered;
  store_.Wait(
      name, absl::Hours(1), [&] { return gone.load(); },
      [&](const absl::StatusOr<Operation>&) { answered.Notify(); });
  EXPECT_FALSE(answered.WaitForNotificationWithTimeout(absl::Milliseconds(150)));
  gone = true;
  EXPECT_TRUE(answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
}

TEST_F(ConversionsTest, AnExistingDestinationIsRefusedAtOnce) {
  Conversions conversions(root_, Slow(), SystemClock(), &store_, &metrics_, &loader_);
  const absl::Status status = conversions.Start(Request("models")).status();
  EXPECT_TRUE(absl::IsAlreadyExists(status)) << status;
  EXPECT_EQ(ErrorReason(status), "TARGET_EXISTS");
}

TEST_F(ConversionsTest, AFullDiskIsNotAFullQueue) {
  Converter converter = Slow();
  converter.convert = [](const ConvertOptions&,
                         const ConversionContext&) -> absl::StatusOr<ConversionReport> {
    return absl::ResourceExhaustedError("no space left on device");
  };
  Conversions conversions(root_, converter, SystemClock(), &store_, &metrics_, &loader_);
  const auto started = conversions.Start(Request("out"));
  ASSERT_TRUE(started.ok());
  const Operation operation = WaitFor(started->name(), absl::Seconds(20));
  ASSERT_EQ(operation.error().details_size(), 1) << "no RetryInfo";
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(operation.error().details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "NO_SPACE");
}

TEST_F(ConversionsTest, SameDestinationIsAbortedAndTheQueueIsBounded) {
  Conversions conversions(root_, Slow(), SystemClock(), &store_, &metrics_, &loader_);
  ASSERT_TRUE(conversions.Start(Request("out")).ok());
  EXPECT_TRUE(absl::IsAborted(conversions.Start(Request("./out")).status()));
  // From now on nothing leaves the queue.
  while (conversions.running() == 0) absl::SleepFor(absl::Milliseconds(1));
  absl::Status last;
  for (int i = 0; i < kMaxQueuedConversions + 2; ++i) {
    last = conversions.Start(Request("out" + std::to_string(i))).status();
  }
  EXPECT_TRUE(absl::IsResourceExhausted(last)) << last;
}

TEST_F(ConversionsTest, ValidateOnlyAnswersWithADoneOperation) {
  Conversions conversions(root_, Slow(), SystemClock(), &store_, &metrics_, &loader_);
  v1::ConvertModelRequest request = Request("out");
  request.set_validate_only(true);
  const auto operation = conversions.Start(request);
  ASSERT_TRUE(operation.ok());
  EXPECT_TRUE(operation->done());
  EXPECT_EQ(conversions.queued() + conversions.running(), 0);
}

TEST_F(ConversionsTest, RunsAtLowPriority) {
  std::atomic<int> nice{-1};
  std::atomic<int> nice_of_child{-1};
  Converter converter = Slow();
  converter.convert = [&](const ConvertOptions& options, const ConversionContext&) {
    const auto own = [] { return getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())); };
    nice = own();
    Thread("child", [&] { nice_of_child = own(); }).Join();
    return converter.plan(options);
  };
  const int before = getpriority(PRIO_PROCESS, static_cast<id_t>(gettid()));
  Conversions conversions(root_, converter, SystemClock(), &store_, &metrics_, &loader_);
  const auto started = conversions.Start(Request("out"));
  ASSERT_TRUE(started.ok());
  ASSERT_TRUE(WaitFor(started->name(), absl::Seconds(20)).done());
  EXPECT_EQ(nice, std::min(before + kConversionNice, 19));
  EXPECT_EQ(nice_of_child, nice) << "threads of the backend too";
  EXPECT_EQ(getpriority(PRIO_PROCESS, static_cast<id_t>(gettid())), before)
      << "nobody else is concerned";
}

TEST_F(ConversionsTest, WhatCannotBeServedIsConvertedAllTheSame) {
  Conversions conversions(root_, Slow(), SystemClock(), &store_, &metrics_, &loader_);
  v1::ConvertModelRequest request = Request("out");
  request.set_serve_as("first");
  EXPECT_TRUE(absl::IsAlreadyExists(conversions.Start(request).status())) << "known beforehand";
  request.set_serve_as("second");
  const auto started = conversions.Start(request);
  ASSERT_TRUE(started.ok()) << started.status();
  release_.Notify();
  const Operation operation = WaitFor(started->name(), absl::Seconds(20));
  v1::ConvertModelResponse response;
  ASSERT_TRUE(operation.response().UnpackTo(&response));
  EXPECT_EQ(response.load_operation(), "");
  EXPECT_EQ(response.load_error().code(), static_cast<int>(absl::StatusCode::kNotFound));
}

TEST_F(ConversionsTest, WithoutARootItIsOff) {
  Conversions conversions("", Slow(), SystemClock(), &store_, &metrics_, &loader_);
  const absl::Status status = conversions.Start(Request("out")).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_EQ(ErrorReason(status), "CONVERSION_DISABLED");
}

TEST_F(ConversionsTest, PathsStayBelowTheRoot) {
  fs::create_directory_symlink("/", root_ / "escape");
  fs::create_symlink("/etc/passwd", root_ / "file");
  const std::string bad[] = {"",           "/etc/passwd", "..",     "../x", "models/../../x",
                             "escape/etc", "file",        "escape", ".",    std::string("a\0b", 3)};
  for (const std::string& path : bad) {
    const auto confined = ConfinePath(root_, path, "source");
    EXPECT_TRUE(absl::IsInvalidArgument(confined.status())) << path;
  }
  EXPECT_EQ(*ConfinePath(root_, "models/a.gguf", "source"),
            (fs::canonical(root_) / "models" / "a.gguf").string());
  EXPECT_TRUE(ConfinePath(root_, "not/there/yet", "destination").ok());
}

TEST_F(ConversionsTest, RefusesBadOptions) {
  Conversions conversions(root_, Slow(), SystemClock(), &store_, &metrics_, &loader_);
  v1::ConvertModelRequest request = Request("out");
  request.mutable_options()->set_recipe("magic");
  EXPECT_TRUE(absl::IsInvalidArgument(conversions.Start(request).status()));
  request = Request("out");
  request.mutable_options()->set_dtype("q4_0");
  EXPECT_TRUE(absl::IsInvalidArgument(conversions.Start(request).status()));
  request.mutable_options()->set_dtype("q8_0");
  EXPECT_TRUE(absl::IsInvalidArgument(conversions.Start(request).status()));
  request = Request("out");
  request.mutable_options()->set_format("zip");
  EXPECT_TRUE(absl::IsInvalidArgument(conversions.Start(request).status()));
  request = Request("out");
  request.mutable_options()->set_nsamples(4000000000u);
  EXPECT_TRUE(absl::IsInvalidArgument(conversions.Start(request).status()));
}

TEST_F(ConversionsTest, ListsInPages) {
  google::protobuf::Any any;
  for (int i = 0; i < 5; ++i) {
    const std::string name = store_.Create("x", v1::ConvertModelMetadata()).name();
    store_.Finish(name, v1::ConvertModelMetadata(), any);
  }
  auto page = store_.List(2, "");
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->operations_size(), 2);
  page = store_.List(10, page->next_page_token());
  EXPECT_EQ(page->operations_size(), 3);
  EXPECT_TRUE(page->next_page_token().empty());
  EXPECT_FALSE(store_.List(-1, "").ok());
  EXPECT_FALSE(store_.List(1, "junk").ok());
  EXPECT_TRUE(absl::IsNotFound(store_.Cancel("operations/x-99")));
  EXPECT_TRUE(absl::IsNotFound(store_.Cancel("operations/y-1")));
}

}  // namespace
}  // namespace transmla
