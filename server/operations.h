// Operations: the store of long-running operations and google.longrunning.Operations over it.
//
// An operation is made, updated and finished by whoever does its work; clients get, list, wait for,
// cancel and delete it. Finished ones are kept for a day, the newest thousand. In memory: a restart
// forgets them.
#ifndef TRANSMLA_SERVER_OPERATIONS_H_
#define TRANSMLA_SERVER_OPERATIONS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "google/longrunning/operations.grpc.pb.h"
#include <grpcpp/grpcpp.h>

#include "engine/base/clock.h"
#include "engine/base/thread.h"

namespace transmla {

// Thread-safe.
class OperationStore {
 public:
  using Operation = google::longrunning::Operation;
  using WaitCallback = std::function<void(const absl::StatusOr<Operation>&)>;

  explicit OperationStore(Clock* clock);
  // Answers who still waits.
  ~OperationStore();

  // --- for the worker ---

  // A new operation, in order after all others. `prefix` is part of its name.
  Operation Create(absl::string_view prefix, const google::protobuf::Message& metadata);
  // Ignored once the operation is done or deleted.
  void Update(const std::string& name, const google::protobuf::Message& metadata);
  void Finish(const std::string& name, const google::protobuf::Message& metadata,
              const absl::StatusOr<google::protobuf::Any>& result);
  bool IsCancelRequested(const std::string& name) const;

  // --- for clients; NotFound for an unknown name ---

  absl::StatusOr<Operation> Get(const std::string& name) const;
  // Oldest first. `page_token` is one that an earlier call gave, or empty.
  absl::StatusOr<google::longrunning::ListOperationsResponse> List(
      int page_size, const std::string& page_token) const;
  absl::Status Cancel(const std::string& name);
  // FailedPrecondition while the operation is not done.
  absl::Status Delete(const std::string& name);
  // Calls `callback` once: when the operation is done, or with its state after `timeout` or as soon
  // as `is_gone` says that nobody waits for it. Maybe before this returns, maybe on another thread.
  // `is_gone` must not block.
  void Wait(const std::string& name, absl::Duration timeout, std::function<bool()> is_gone,
            WaitCallback callback);

  // Requests cancellation of all and answers all who wait. Nothing waits any more after this.
  void Shutdown();
  bool IsShutDown() const;

 private:
  struct Entry {
    Operation operation;
    bool cancel_requested = false;
    absl::Time finished = absl::InfiniteFuture();
  };
  struct Waiter {
    std::string name;
    absl::Time deadline;
    std::function<bool()> is_gone;
    WaitCallback callback;
  };

  const Entry* Find(const std::string& name) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  Entry* Find(const std::string& name) ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  void Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes out the waiters that have their answer.
  std::vector<Waiter> TakeReady() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Answer(std::vector<Waiter> waiters);
  void WatchTimeouts();

  Clock* const clock_;
  mutable absl::Mutex mutex_;
  std::map<int64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // by number, which ends the name
  int64_t next_number_ ABSL_GUARDED_BY(mutex_) = 1;
  std::vector<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  Thread timer_;  // last: uses the above
};

// google.longrunning.Operations. `store` must outlive it.
class OperationsServiceImpl final : public google::longrunning::Operations::CallbackService {
 public:
  explicit OperationsServiceImpl(OperationStore* store) : store_(store) {}

  grpc::ServerUnaryReactor* ListOperations(
      grpc::CallbackServerContext* context,
      const google::longrunning::ListOperationsRequest* request,
      google::longrunning::ListOperationsResponse* response) override;
  grpc::ServerUnaryReactor* GetOperation(grpc::CallbackServerContext* context,
                                         const google::longrunning::GetOperationRequest* request,
                                         google::longrunning::Operation* response) override;
  grpc::ServerUnaryReactor* DeleteOperation(
      grpc::CallbackServerContext* context,
      const google::longrunning::DeleteOperationRequest* request,
      google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* CancelOperation(
      grpc::CallbackServerContext* context,
      const google::longrunning::CancelOperationRequest* request,
      google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* WaitOperation(grpc::CallbackServerContext* context,
                                          const google::longrunning::WaitOperationRequest* request,
                                          google::longrunning::Operation* response) override;

 private:
  OperationStore* const store_;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_OPERATIONS_H_
