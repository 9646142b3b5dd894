#include "engine/serve/generation.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace transmla {
namespace {

TokenInfo ToInfo(const Sample& sample) {
  TokenInfo info{.token = sample.token, .logprob = sample.logprob};
  for (const auto& [token, logprob] : sample.top) info.top.push_back({token, logprob});
  return info;
}

// The control tokens that the parser of tool calls must see.
std::vector<int32_t> MarkersOf(ToolCallFormat format, const Tokenizer& tokenizer) {
  std::vector<int32_t> markers;
  if (format == ToolCallFormat::kNone) return markers;
  for (const char* name :
       {"<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]"}) {
    if (const auto token = tokenizer.Find(name)) markers.push_back(*token);
  }
  return markers;
}

std::string ToolCallId(absl::string_view request, int number) {
  constexpr absl::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id;
  for (uint64_t rest = absl::HashOf(request, number); id.size() < 9; rest /= kLetters.size()) {
    id.push_back(kLetters[rest % kLetters.size()]);
  }
  return id;
}

}  // namespace

Generation::Generation(GenerateRequest request, std::shared_ptr<EventSink> sink,
                       const GenerationContext* context, absl::Time arrival)
    : request_(std::move(request)),
      sink_(std::move(sink)),
      context_(context),
      arrival_(arrival),
      end_tokens_(request_.stop.stop_token_ids),
      draft_tokens_(request_.draft_tokens >= 0 ? request_.draft_tokens : context->draft_tokens),
      decoder_(context->tokenizer, request_.skip_special_tokens,
               MarkersOf(request_.tool_calls, *context->tokenizer)),
      stop_(request_.stop.stop_strings, request_.stop.include_stop),
      tool_calls_(request_.tool_calls) {
  if (!request_.stop.ignore_eos) {
    end_tokens_.insert(end_tokens_.end(), context->eos_token_ids.begin(),
                       context->eos_token_ids.end());
  }
  usage_.prompt_tokens = static_cast<int>(request_.prompt.size());
  next_.sampling = request_.sampling;
  // Applied for every token: each once.
  std::vector<int32_t>& allowed = next_.sampling.allowed_tokens;
  std::sort(allowed.begin(), allowed.end());
  allowed.erase(std::unique(allowed.begin(), allowed.end()), allowed.end());
  next_.logprobs = request_.logprobs;
  if (HasPenalties(request_.sampling)) {
    history_.AddPrompt(request_.prompt);
    next_.history = &history_;
  }
}

void Generation::Started(absl::Time now, int cached_prompt_tokens) {
  if (started_ != absl::InfiniteFuture()) return;
  started_ = now;
  usage_.cached_prompt_tokens = cached_prompt_tokens;
}

const SampleRequest& Generation::NextSample(int64_t position) {
  next_.position = position;
  next_.forbidden = {};
  if (usage_.completion_tokens < request_.stop.min_tokens) next_.forbidden = end_tokens_;
  // Not in the constructor, which any thread may run: others use the constraint too.
  if (!constraint_ && request_.constraint != nullptr) constraint_.emplace(request_.constraint);
  if (constraint_) {
    next_.constraint = &constraint_->Allowed();
    next_.beside_constraint = {};
    if (constraint_->MayEnd()) next_.beside_constraint = end_tokens_;
  }
  if (request_.bad_words != nullptr) {
    next_.not_banned = &request_.bad_words->Allowed(banned_);
    next_.beside_banned = end_tokens_;
  }
  return next_;
}

absl::Status Generation::ConstraintStatus() const {
  if (!constraint_ || !constraint_->failed()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the constraint is too ambiguous: it takes too long to find the tokens that may come next");
}

absl::Span<const int32_t> Generation::Guess(absl::Span<const int32_t> tokens) {
  int most =
      std::min(draft_tokens_, context_->max_context_tokens - static_cast<int>(tokens.size()) - 1);
  if (request_.stop.max_tokens > 0) {
    most = std::min(most, request_.stop.max_tokens - usage_.completion_tokens - 1);
  }
  if (most <= 0) return {};
  return draft_.Guess(tokens, most);
}

void Generation::TakePrompt(int first, absl::Span<const Sample> tokens) {
  PromptEvent event{.first = first, .tokens = {}};
  for (const Sample& token : tokens) event.tokens.push_back(ToInfo(token));
  sink_->OnPrompt(std::move(event));
}

void Generation::Follow(int32_t token) {
  if (next_.history != nullptr) history_.AddGenerated(token);
  if (!constraint_ && request_.bad_words == nullptr) return;
  const std::string bytes = context_->tokenizer->TokenBytes(token);
  if (constraint_) constraint_->Accept(bytes);
  if (request_.bad_words != nullptr) banned_ = request_.bad_words->After(banned_, bytes);
}

bool Generation::EndsAt(int32_t token) const {
  return std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end();
}

TokenEvent Generation::MakeEvent(const Sample& sample, absl::Time now) const {
  TokenEvent event;
  event.usage = usage_;
  event.time = now;
  event.tokens.push_back(ToInfo(sample));
  return event;
}

void Generation::AddText(absl::string_view text, bool last, TokenEvent& event) {
  const auto add = [&](ToolCallParser::Result result) {
    event.text += result.text;
    for (ToolCall& call : result.calls) {
      event.tool_calls.push_back(
          {.id = ToolCallId(request_.id, tool_call_count_++), .call = std::move(call)});
    }
  };
  add(tool_calls_.Push(text));
  if (last) add(tool_calls_.Flush());
}

std::optional<FinishedEvent> Generation::Take(const Sample& sample, absl::Time now) {
  ++usage_.completion_tokens;
  first_token_ = std::min(first_token_, now);
  last_token_ = now;
  std::optional<FinishedEvent> finished;
  TokenEvent event = MakeEvent(sample, now);
  if (EndsAt(sample.token)) {
    finished = FinishedEvent{.reason = FinishReason::kStop, .stop_token = sample.token};
  } else {
    Follow(sample.token);
    StopMatcher::Result result = stop_.Push(decoder_.Push(sample.token));
    AddText(result.text, !result.matched.empty(), event);
    const int total = usage_.prompt_tokens + usage_.completion_tokens;
    if (!result.matched.empty()) {
      finished = FinishedEvent{.reason = FinishReason::kStop, .stop_string = result.matched};
      sink_->OnTokens(std::move(event));
      return finished;
    }
    if (constraint_ && constraint_->MayEnd() && constraint_->MustEnd()) {
      finished = FinishedEvent{.reason = FinishReason::kStop};
    } else if (usage_.completion_tokens == request_.stop.max_tokens ||
               total >= context_->max_context_tokens) {
      finished = FinishedEvent{.reason = FinishReason::kLength};
    }
  }
  if (finished) {
    // What was held back belongs to the text after all, unless it completes a stop string.
    StopMatcher::Result rest = stop_.Push(decoder_.Flush());
    if (rest.matched.empty()) {
      rest.text += stop_.Flush();
    } else {
      finished = FinishedEvent{.reason = FinishReason::kStop, .stop_string = rest.matched};
    }
    AddText(rest.text, /*last=*/true, event);
  }
  sink_->OnTokens(std::move(event));
  return finished;
}

RequestTimings Generation::Timings(absl::Time now) const {
  RequestTimings timings;
  timings.total = now - arrival_;
  const absl::Time started = std::min(started_, now);
  const absl::Time first_token = std::min(first_token_, now);
  timings.queue = started - arrival_;
  timings.prefill = first_token - started;
  timings.decode = now - first_token;
  return timings;
}

void Generation::Finish(FinishedEvent event, absl::Time now, int preemptions) {
  event.usage = usage_;
  event.timings = Timings(now);
  event.seed = request_.sampling.seed;
  event.preemptions = preemptions;
  sink_->OnFinished(std::move(event));
}

void Generation::Fail(const absl::Status& status) { sink_->OnError(status, usage_); }

}  // namespace transmla
