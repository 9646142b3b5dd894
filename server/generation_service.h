// GenerationService: transmla.v1.GenerationService over the engine.
//
// gRPC's threads only check, take a place in the engine's queue and start writes; tokenisation runs
// on a pool of its own; tokens come from the engine's thread. One RPC is one request of the engine
// a sequence, with ids "REQUEST#INDEX".
#ifndef TRANSMLA_SERVER_GENERATION_SERVICE_H_
#define TRANSMLA_SERVER_GENERATION_SERVICE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "transmla/v1/generation.grpc.pb.h"
#include <grpcpp/grpcpp.h>

#include "engine/base/clock.h"
#include "engine/base/random.h"
#include "engine/base/thread.h"
#include "server/live_ids.h"
#include "server/model_registry.h"
#include "server/worker_pool.h"

namespace transmla {

class GenerationCall;
class StreamTransport;

// Must outlive the gRPC server that it is registered with.
class GenerationServiceImpl final : public v1::GenerationService::CallbackService {
 public:
  struct Options {
    absl::Duration stream_stall_timeout = absl::Seconds(30);
    Clock* clock = SystemClock();
    uint64_t seed = 0;  // of request ids and of sampling where the client gave none
  };

  // `registry` must outlive the service.
  GenerationServiceImpl(const Options& options, ModelRegistry* registry);
  ~GenerationServiceImpl() override;

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* GenerateOnce(grpc::CallbackServerContext* context,
                                         const v1::GenerateOnceRequest* request,
                                         v1::GenerateOnceResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const v1::DetokenizeRequest* request,
                                       v1::DetokenizeResponse* response) override;

  // RPCs whose output is not written in full.
  int64_t open_streams() const;
  // Bytes of a model's output that wait for slow readers.
  int64_t backlog_bytes(const ServedModel& model) const;

 private:
  // A call for `message`, whose messages go to `transport`.
  std::shared_ptr<GenerationCall> NewCall(const char* method, bool streamed,
                                          const v1::GenerateRequest& message,
                                          const grpc::CallbackServerContext& context,
                                          StreamTransport* transport);
  // Checks, reserves, and hands over to the pool; ends the call if any of it fails.
  void Start(const std::shared_ptr<GenerationCall>& call);
  // Runs `work` on the pool, unless the call is cancelled by then, and finishes `reactor` with its
  // status.
  void FinishOnPool(grpc::CallbackServerContext* context, grpc::ServerUnaryReactor* reactor,
                    std::function<absl::Status()> work);
  void WatchForStalls();
  std::vector<std::shared_ptr<GenerationCall>> LiveCalls() const;

  const Options options_;
  ModelRegistry* const registry_;
  LiveIds live_ids_;

  mutable absl::Mutex mutex_;
  Random random_ ABSL_GUARDED_BY(mutex_);
  mutable std::vector<std::weak_ptr<GenerationCall>> calls_ ABSL_GUARDED_BY(mutex_);

  absl::Notification stop_;
  Thread watcher_;
  WorkerPool pool_;  // last: its tasks use all of the above
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_GENERATION_SERVICE_H_
