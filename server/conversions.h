// Conversions: runs ConvertModel requests in the background, one at a time, below one folder.
//
// Paths of a request are relative to the conversion root and may not leave it, through ".." or
// through a symbolic link. A conversion uses a bounded number of threads at low priority, so that
// serving goes on.
#ifndef TRANSMLA_SERVER_CONVERSIONS_H_
#define TRANSMLA_SERVER_CONVERSIONS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "google/longrunning/operations.pb.h"
#include "transmla/v1/model.pb.h"

#include "engine/base/bounded_queue.h"
#include "engine/base/clock.h"
#include "engine/base/thread.h"
#include "engine/convert/pipeline.h"
#include "server/metrics.h"
#include "server/model_loader.h"
#include "server/operations.h"

namespace transmla {

// The converter, so that tests can put another in its place.
struct Converter {
  std::function<absl::StatusOr<ConversionReport>(const ConvertOptions&, const ConversionContext&)>
      convert;
  std::function<absl::StatusOr<ConversionReport>(const ConvertOptions&)> plan;
  std::function<absl::StatusOr<std::unique_ptr<Backend>>()> make_backend;
};

// Thread-safe.
class Conversions {
 public:
  // `root` empty: every request is FailedPrecondition. `loader` loads what is to be served. The
  // pointers must outlive this.
  Conversions(std::string root, Converter converter, Clock* clock, OperationStore* store,
              Metrics* metrics, ModelLoader* loader);
  // Cancels and joins.
  ~Conversions();

  // Queues a conversion, or, for validate_only, answers with its plan. Touches files.
  // FailedPrecondition (no root), InvalidArgument (paths, options), AlreadyExists (destination),
  // Aborted (a conversion to the same destination is under way), ResourceExhausted (too many wait),
  // and what is wrong with the source.
  absl::StatusOr<google::longrunning::Operation> Start(const v1::ConvertModelRequest& request);

  // Cancels what runs and what waits; returns when the thread is done. Idempotent.
  void Shutdown();

  int64_t queued() const { return queued_.load(); }
  int64_t running() const { return running_.load(); }
  double progress() const { return progress_.load(); }

 private:
  struct Job {
    std::string operation;
    ConvertOptions options;
    v1::ConvertModelMetadata metadata;
    std::string serve_as;
  };

  void Work();
  void Run(Job job);
  // What the client gets, and the begin of its loading if that was asked for.
  absl::StatusOr<google::protobuf::Any> ResultOf(const Job& job,
                                                 const absl::StatusOr<ConversionReport>& report);
  void Release(const std::string& destination);

  const std::string root_;
  const Converter converter_;
  Clock* const clock_;
  OperationStore* const store_;
  Metrics* const metrics_;
  ModelLoader* const loader_;

  absl::Mutex mutex_;
  std::vector<std::string> destinations_ ABSL_GUARDED_BY(mutex_);  // queued and running
  std::atomic<int64_t> queued_{0};
  std::atomic<int64_t> running_{0};
  std::atomic<double> progress_{0};
  std::atomic<bool> stop_{false};
  BoundedQueue<std::shared_ptr<Job>> queue_;
  Thread thread_;  // last: uses the above
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_CONVERSIONS_H_
