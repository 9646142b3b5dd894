// Every bound that the server sets on what a client sends or makes it hold.
#ifndef TRANSMLA_SERVER_LIMITS_H_
#define TRANSMLA_SERVER_LIMITS_H_

#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace transmla {

// A larger message is refused by gRPC itself, before anything is parsed.
inline constexpr int kMaxReceiveBytes = 16 << 20;
// Prompts, rendered or not. Below kMaxReceiveBytes, so that the answer names the limit.
inline constexpr size_t kMaxPromptBytes = size_t{8} << 20;
inline constexpr int kMaxPromptTokens = 1 << 20;
inline constexpr int kMaxChatMessages = 4096;
inline constexpr size_t kMaxRequestIdBytes = 128;
inline constexpr int kMaxSequences = 16;
inline constexpr int kMaxStopStrings = 16;
inline constexpr size_t kMaxStopStringBytes = 256;
inline constexpr int kMaxStopTokenIds = 1024;
inline constexpr int kMaxLogitBiases = 1024;
inline constexpr int kMaxLogprobs = 20;
inline constexpr size_t kMaxTenantBytes = 64;
inline constexpr size_t kMaxCacheSaltBytes = 128;
inline constexpr int kMaxDraftTokens = 16;

// Output of one stream that waits for a slow reader; beyond it the stream ends.
inline constexpr size_t kMaxBacklogBytes = size_t{1} << 20;

// A prompt that is sent back; with room for what is generated meanwhile.
inline constexpr size_t kMaxEchoBytes = kMaxBacklogBytes / 2;

// Memory that gRPC may take for messages and connections in flight.
inline constexpr size_t kRpcMemoryBytes = size_t{512} << 20;
inline constexpr int kMaxRpcThreads = 64;
// Streams of one connection beyond those that run or wait: probes, lists, refusals.
inline constexpr int kSpareStreamsPerConnection = 64;

// A client that vanished without a word is noticed after at most the sum of both.
inline constexpr absl::Duration kKeepaliveInterval = absl::Seconds(30);
inline constexpr absl::Duration kKeepaliveTimeout = absl::Seconds(10);
// Clients that ping more often are told to stop.
inline constexpr absl::Duration kMinClientPingInterval = absl::Seconds(10);

// At the end of a drain, for messages and calls that are on their way.
inline constexpr absl::Duration kLastMessages = absl::Seconds(1);

// What a refused client is told to wait.
inline constexpr absl::Duration kRetryDelay = absl::Seconds(1);

// An engine that was silent for so long is not serving.
inline constexpr absl::Duration kMaxHeartbeatAge = absl::Seconds(10);
inline constexpr absl::Duration kHealthInterval = absl::Milliseconds(250);

inline constexpr int kTokenizerThreads = 2;
inline constexpr size_t kTokenizerQueue = 4096;

inline constexpr uint32_t kMaxContextTokens = 1 << 24;

// Models at a time. Each has a thread of its own and its threads' workspace.
inline constexpr size_t kMaxModels = 16;
inline constexpr size_t kMaxModelNameBytes = 128;
// Threads that load and unload models, and how many such operations may wait or run.
inline constexpr int kModelThreads = 2;
inline constexpr size_t kQueuedModelCalls = 16;

// A conversion gives way to what is served: about a tenth of a core that both want (sched(7)).
inline constexpr int kConversionNice = 10;

// Conversions that wait, beside the one that runs.
inline constexpr int kMaxQueuedConversions = 4;
inline constexpr absl::Duration kFinishedOperationLife = absl::Hours(24);
inline constexpr size_t kMaxFinishedOperations = 1000;
inline constexpr absl::Duration kMaxOperationWait = absl::Hours(1);

}  // namespace transmla

#endif  // TRANSMLA_SERVER_LIMITS_H_
