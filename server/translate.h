// Translate: between the messages of proto/transmla/v1 and the engine's types, and the only place
// that turns an absl::Status into a gRPC status.
#ifndef TRANSMLA_SERVER_TRANSLATE_H_
#define TRANSMLA_SERVER_TRANSLATE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/rpc/status.pb.h"
#include "transmla/v1/generation.pb.h"
#include "transmla/v1/model.pb.h"
#include <grpcpp/support/status.h>

#include "engine/engine.h"
#include "engine/serve/request.h"

namespace transmla {

// Reasons that the server itself gives; the engine's are in its own messages.
namespace reason {
inline constexpr absl::string_view kInvalidParameter = "INVALID_PARAMETER";
inline constexpr absl::string_view kContextTooLong = "CONTEXT_TOO_LONG";
inline constexpr absl::string_view kModelNotFound = "MODEL_NOT_FOUND";
inline constexpr absl::string_view kOperationNotFound = "OPERATION_NOT_FOUND";
inline constexpr absl::string_view kDuplicateRequest = "DUPLICATE_REQUEST";
inline constexpr absl::string_view kTargetExists = "TARGET_EXISTS";
inline constexpr absl::string_view kQueueFull = "QUEUE_FULL";
inline constexpr absl::string_view kQueueTokensFull = "QUEUE_TOKENS_FULL";
inline constexpr absl::string_view kQueueTimeout = "QUEUE_TIMEOUT";
inline constexpr absl::string_view kSlowConsumer = "SLOW_CONSUMER";
inline constexpr absl::string_view kModelLoading = "MODEL_LOADING";
inline constexpr absl::string_view kDraining = "DRAINING";
inline constexpr absl::string_view kCancelledByClient = "ABORTED_BY_CLIENT";
inline constexpr absl::string_view kOperationInProgress = "OPERATION_IN_PROGRESS";
inline constexpr absl::string_view kConversionDisabled = "CONVERSION_DISABLED";
inline constexpr absl::string_view kNoChatTemplate = "NO_CHAT_TEMPLATE";
inline constexpr absl::string_view kNoSpace = "NO_SPACE";
inline constexpr absl::string_view kNoMemory = "NO_MEMORY";
inline constexpr absl::string_view kLoadingDisabled = "LOADING_DISABLED";
inline constexpr absl::string_view kFirstModel = "FIRST_MODEL";
}  // namespace reason

// InvalidArgument about one field of the request: "sampling.top_p is 2; it must be …". The field
// also travels as google.rpc.BadRequest.
absl::Status InvalidField(absl::string_view field, absl::string_view problem);

// `status` with the reason `why` if its code is `code` and it has no reason yet.
absl::Status WithDefaultReason(absl::Status status, absl::StatusCode code, absl::string_view why);

// How long a client should wait before it tries again; nothing if trying again cannot help.
absl::optional<absl::Duration> RetryDelay(const absl::Status& status);

// The gRPC status of `status`, with google.rpc.ErrorInfo of domain "transmla.dev" (the reason that
// the status carries, else the usual one of its code), BadRequest for a named field, and RetryInfo
// where RetryDelay has one. Valid UTF-8 and short enough for trailers whatever the message holds.
// OK is OK.
grpc::Status ToGrpcStatus(const absl::Status& status);
// The same, as the error of a long-running operation.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// One completion's request from the message: everything but prompt and id. Checks every field that
// can be checked without the model; `seed` is used where the client gave none.
absl::StatusOr<GenerateRequest> ToEngineRequest(const v1::GenerateRequest& message, uint64_t seed);
struct SequenceCounts {
  int returned = 1;
  int generated = 1;  // of which the best are returned
};
// Each 1 to kMaxSequences, or InvalidArgument.
absl::StatusOr<SequenceCounts> SequencesOf(const v1::GenerateRequest& message);
// What the completion may be; nothing if it may be anything. Not compiled yet.
absl::StatusOr<std::optional<ConstraintSpec>> ConstraintOf(const v1::GenerateRequest& message);
// The field that it came from.
absl::string_view ConstraintField(const v1::GenerateRequest& message);
// InvalidArgument unless empty or at most 128 printable ASCII characters.
absl::Status CheckRequestId(absl::string_view id);
// The same for a name that a model is to have; `field` says where it stands.
absl::Status CheckNewModelName(absl::string_view field, absl::string_view name);

// Which parts of a token event the client asked for.
struct OutputSelection {
  bool text = true;
  bool tokens = false;
  bool logprobs = false;
};
OutputSelection SelectionOf(const v1::GenerateRequest& message);

// Appends the event to `prompt`; `first_token` of the prompt comes before the first event's tokens.
void AppendPrompt(const PromptEvent& event, int32_t first_token, v1::PromptInfo* prompt);
// Appends the event to `chunk`.
void AppendEvent(const TokenEvent& event, const OutputSelection& selection, v1::Chunk* chunk);
// `eos_token_ids` tells the model's own end tokens from the request's stop tokens.
v1::Finished ToProto(const FinishedEvent& event, const ModelInfo& model);
v1::Model ToProto(const ModelInfo& model, v1::Model::State state, bool has_chat_template);

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp);

// NotFound, naming the `served` ones. REQUIRES: at least one, the first that which an empty name
// means.
absl::Status ModelNotFound(absl::string_view name, absl::Span<const std::string> served);

}  // namespace transmla

#endif  // TRANSMLA_SERVER_TRANSLATE_H_
