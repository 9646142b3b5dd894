// GenerationCall: one Generate or GenerateOnce RPC from admission to its line in the log.
//
// Shared by the transport's reactor, the pool's task and the engine's sinks, whichever lives
// longest. Thread-safe after construction, apart from the order that the methods name.
#ifndef TRANSMLA_SERVER_GENERATION_CALL_H_
#define TRANSMLA_SERVER_GENERATION_CALL_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "transmla/v1/generation.pb.h"

#include "engine/base/clock.h"
#include "engine/engine.h"
#include "server/best_of.h"
#include "server/live_ids.h"
#include "server/metrics.h"
#include "server/model_registry.h"
#include "server/served_model.h"
#include "server/stream_writer.h"

namespace transmla {

class GenerationCall : public std::enable_shared_from_this<GenerationCall> {
 public:
  struct Params {
    const char* method = "";
    bool streamed = false;  // what is generated goes out as it comes
    v1::GenerateRequest message;
    std::string generated_id;  // used if the message has none
    uint64_t generated_seed = 0;
    absl::Time deadline = absl::InfiniteFuture();
    Clock* clock = SystemClock();
  };

  // Looks the message's model up and holds it from then on. `live_ids` and `transport` outlive the
  // call.
  GenerationCall(Params params, const ModelRegistry& registry, LiveIds* live_ids,
                 StreamTransport* transport);

  // First: checks the message and takes a place in the queue for each sequence. Cheap.
  absl::Status Admit();
  // Second, if Admit was OK: renders, tokenises and submits. Not on gRPC's threads.
  void Run();
  // Ends a call that the engine has not accepted, and counts why.
  void Refuse(const absl::Status& status);
  // Last: writes the log line of the call.
  void LogEnd() const;

  // The client cancelled, vanished, or its deadline passed: gRPC tells all of them alike.
  void OnCancel();
  // The transport closes, and with what, for the log. From now on the id may be used again.
  void Closing(const absl::Status& status);
  const std::string& id() const { return id_; }
  StreamWriter& writer() { return writer_; }
  // The first one if there is none of the message's name: it counts the refusal.
  ServedModel& model() const { return *model_; }

 private:
  class Sink;

  absl::Status Submit();
  // The request of every sequence, but for its id and seed.
  absl::StatusOr<GenerateRequest> MakeRequest();
  absl::Status SubmitAll(const GenerateRequest& request);
  void DeliverBest(std::vector<BestOf::Candidate> best);
  std::string EngineId(int index) const;

  const Params params_;
  const std::string id_;
  absl::Status model_found_;
  const std::shared_ptr<ServedModel> model_;  // outlives the tickets, which are its engine's
  LiveIds* const live_ids_;
  const absl::Time arrival_;
  SequenceCounts sequences_;
  int32_t first_token_ = 0;          // of the prompt
  std::unique_ptr<BestOf> best_of_;  // if more are generated than returned
  Engine* engine_ = nullptr;
  std::vector<AdmissionTicket> tickets_;
  // Set by the pool's task, read when a client that went away ends the call meanwhile.
  std::atomic<uint32_t> prompt_tokens_{0};
  bool owns_id_ = false;
  absl::Status end_status_;
  StreamWriter writer_;
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_GENERATION_CALL_H_
