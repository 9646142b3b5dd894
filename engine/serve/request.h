// What goes into the engine loop and what comes out.
//
// A GenerateRequest asks for one completion. Its events reach an EventSink: Token events in order,
// then exactly one terminal event, Finished or an error; nothing after it.
#ifndef TRANSMLA_ENGINE_SERVE_REQUEST_H_
#define TRANSMLA_ENGINE_SERVE_REQUEST_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

#include "engine/grammar/banned_words.h"
#include "engine/grammar/constraint.h"
#include "engine/sample/sampling_params.h"
#include "engine/tool_call/call.h"
#include "engine/tool_call/format.h"

namespace transmla {

struct GenerateRequest {
  std::string id;               // unique among live requests
  std::vector<int32_t> prompt;  // token ids, at least one
  SamplingParams sampling;
  StopParams stop;
  bool skip_special_tokens = true;  // control tokens are not part of the text
  int logprobs = -1;  // -1: none; k >= 0: log-probability of the token and of the k most likely
  int prompt_logprobs = -1;  // likewise, of the prompt's tokens; it is then computed as a whole
  ToolCallFormat tool_calls = ToolCallFormat::kNone;  // calls in this form are no text
  std::shared_ptr<Constraint> constraint;             // what the text may be; null: anything
  std::shared_ptr<BannedWords> bad_words;             // what must not come up in it; may be null
  // So many tokens are guessed a step, from what was there; same text. -1: the engine's default.
  int draft_tokens = -1;
  int priority = 0;          // higher first
  std::string tenant;        // requests of one priority take turns by tenant
  bool prefix_cache = true;  // may start from pages that others have filled, and leaves its own
  uint64_t cache_salt = 0;   // prefixes are shared only between requests with the same salt
  // Id of a live request with the same prompt: this one does not start while that one computes the
  // prompt, and then shares its pages. Empty, ended or unknown: none.
  std::string after;
  absl::Time deadline = absl::InfiniteFuture();  // ends with DeadlineExceeded, waiting or running
  absl::Duration max_queue_time =
      absl::InfiniteDuration();  // ends with ResourceExhausted if not started by then
};

enum class FinishReason { kStop, kLength, kCancelled };

struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;  // natural logarithm
};

struct ToolCallEvent {
  std::string id;  // nine letters and digits, which is what Mistral's templates ask for
  ToolCall call;
};

struct TokenInfo {
  int32_t token = 0;
  float logprob = 0;              // 0 unless asked for
  std::vector<TokenLogprob> top;  // the most likely tokens, most likely first
};

struct RequestUsage {
  int prompt_tokens = 0;
  int cached_prompt_tokens = 0;  // of those, found in the prefix cache when the request started
  int completion_tokens = 0;
};

// Filled as the request goes on; a phase that was not reached is zero. queue + prefill + decode =
// total up to the engine's own bookkeeping.
struct RequestTimings {
  absl::Duration queue;    // arrival to first computed token
  absl::Duration prefill;  // first computed token to first generated token
  absl::Duration decode;   // first generated token to the end
  absl::Duration total;
};

// Log-probabilities of the prompt's tokens [first, first + tokens.size()), as they are computed.
// The first token of a prompt has none.
struct PromptEvent {
  int first = 0;
  std::vector<TokenInfo> tokens;
};

// Tokens generated in one step. `text` may be empty while a character or a possible stop string is
// held back; the texts of all events of a request, joined, are the completion.
struct TokenEvent {
  std::string text;                       // valid UTF-8
  std::vector<ToolCallEvent> tool_calls;  // complete now
  std::vector<TokenInfo> tokens;          // empty for text released at the end
  RequestUsage usage;                     // cumulative
  absl::Time time;                        // when the engine made it
};

struct FinishedEvent {
  FinishReason reason = FinishReason::kStop;
  int32_t stop_token = -1;  // the token that ended it, or -1
  std::string stop_string;  // the string that ended it, or empty
  RequestUsage usage;
  RequestTimings timings;
  uint64_t seed = 0;
  int preemptions = 0;
};

// Receives a request's events on the engine's thread. Implementations must not block, throw or call
// back into the engine other than Cancel.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void OnTokens(TokenEvent event) = 0;
  // Before all tokens; only if prompt_logprobs were asked for.
  virtual void OnPrompt(PromptEvent event) = 0;
  // Terminal. A cancelled request ends with OnFinished(kCancelled).
  virtual void OnFinished(FinishedEvent event) = 0;
  // Terminal: DeadlineExceeded, ResourceExhausted (queue time), Unavailable (engine failed or
  // stopped), Internal.
  virtual void OnError(const absl::Status& status, const RequestUsage& usage) = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_REQUEST_H_
