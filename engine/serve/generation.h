// Generation: one live request on the engine's thread, from its tokens to its client's events.
#ifndef TRANSMLA_ENGINE_SERVE_GENERATION_H_
#define TRANSMLA_ENGINE_SERVE_GENERATION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

#include "engine/sample/sampler.h"
#include "engine/sample/stop.h"
#include "engine/sample/token_history.h"
#include "engine/serve/draft.h"
#include "engine/serve/request.h"
#include "engine/tokenizer/stream_decoder.h"
#include "engine/tool_call/parser.h"

namespace transmla {

// What is the same for all requests of a model.
struct GenerationContext {
  std::shared_ptr<const Tokenizer> tokenizer;
  std::vector<int32_t> eos_token_ids;  // the tokenizer's and the model's
  int max_context_tokens = 0;
  int draft_tokens = 0;  // of requests that do not say
};

// Thread-compatible: the engine's thread.
class Generation {
 public:
  Generation(GenerateRequest request, std::shared_ptr<EventSink> sink,
             const GenerationContext* context, absl::Time arrival);

  const GenerateRequest& request() const { return request_; }
  const RequestUsage& usage() const { return usage_; }
  absl::Time arrival() const { return arrival_; }

  // Only the first call counts: the first computed token, after `cached_prompt_tokens` that the
  // cache held already.
  void Started(absl::Time now, int cached_prompt_tokens);
  // How to draw the token at `position`; valid until the next call.
  const SampleRequest& NextSample(int64_t position);
  // FailedPrecondition if the constraint is too ambiguous to find the next token with.
  absl::Status ConstraintStatus() const;
  // Whether it wants guesses.
  bool drafts() const { return draft_tokens_ > 0; }
  // What may follow `tokens`, all that the sequence has, for draft_tokens; valid until they change.
  absl::Span<const int32_t> Guess(absl::Span<const int32_t> tokens);
  // Log-probabilities of prompt tokens from `first` on.
  void TakePrompt(int first, absl::Span<const Sample> tokens);
  // Takes a drawn token and sends its event. Returns the end, if this is it; Finish then sends it.
  std::optional<FinishedEvent> Take(const Sample& sample, absl::Time now);

  // Terminal events; exactly one of them, once.
  void Finish(FinishedEvent event, absl::Time now, int preemptions);
  void Fail(const absl::Status& status);

  // Of the last token before Take; infinite past before the first.
  absl::Time last_token() const { return last_token_; }
  RequestTimings Timings(absl::Time now) const;

 private:
  bool EndsAt(int32_t token) const;
  TokenEvent MakeEvent(const Sample& sample, absl::Time now) const;
  // Adds the token to what its rules have seen.
  void Follow(int32_t token);
  // Adds text that is certain to the event, as text or as tool calls; `last`: nothing comes after.
  void AddText(absl::string_view text, bool last, TokenEvent& event);

  const GenerateRequest request_;
  const std::shared_ptr<EventSink> sink_;
  const GenerationContext* const context_;
  const absl::Time arrival_;
  absl::Time started_ = absl::InfiniteFuture();
  absl::Time first_token_ = absl::InfiniteFuture();
  absl::Time last_token_ = absl::InfinitePast();
  std::vector<int32_t> end_tokens_;  // forbidden before min_tokens
  TokenHistory history_;             // kept if there are penalties
  std::optional<ConstraintMatcher> constraint_;
  BannedWords::State banned_ = BannedWords::kStart;
  SampleRequest next_;
  const int draft_tokens_;
  Draft draft_;
  StreamDecoder decoder_;
  StopMatcher stop_;
  ToolCallParser tool_calls_;
  int tool_call_count_ = 0;
  RequestUsage usage_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_GENERATION_H_
