#include "engine/serve/generation.h"

#include <algorithm>
#include <utility>

namespace transmla {

Generation::Generation(GenerateRequest request, std::shared_ptr<EventSink> sink,
                       const GenerationContext* context, absl::Time arrival)
    : request_(std::move(request)),
      sink_(std::move(sink)),
      context_(context),
      arrival_(arrival),
      end_tokens_(request_.stop.stop_token_ids),
      decoder_(context->tokenizer, request_.skip_special_tokens),
      stop_(request_.stop.stop_strings, request_.stop.include_stop) {
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
  return next_;
}

bool Generation::EndsAt(int32_t token) const {
  return std::find(end_tokens_.begin(), end_tokens_.end(), token) != end_tokens_.end();
}

TokenEvent Generation::MakeEvent(const Sample& sample, absl::Time now) const {
  TokenEvent event;
  event.usage = usage_;
  event.time = now;
  TokenInfo info{.token = sample.token, .logprob = sample.logprob};
  for (const auto& [token, logprob] : sample.top) info.top.push_back({token, logprob});
  event.tokens.push_back(std::move(info));
  return event;
}

std::optional<FinishedEvent> Generation::Take(const Sample& sample, absl::Time now) {
  ++usage_.completion_tokens;
  if (next_.history != nullptr) history_.AddGenerated(sample.token);
  first_token_ = std::min(first_token_, now);
  last_token_ = now;
  std::optional<FinishedEvent> finished;
  TokenEvent event = MakeEvent(sample, now);
  if (EndsAt(sample.token)) {
    finished = FinishedEvent{.reason = FinishReason::kStop, .stop_token = sample.token};
  } else {
    StopMatcher::Result result = stop_.Push(decoder_.Push(sample.token));
    event.text = std::move(result.text);
    const int total = usage_.prompt_tokens + usage_.completion_tokens;
    if (!result.matched.empty()) {
      finished = FinishedEvent{.reason = FinishReason::kStop, .stop_string = result.matched};
      sink_->OnTokens(std::move(event));
      return finished;
    }
    if (usage_.completion_tokens == request_.stop.max_tokens ||
        total >= context_->max_context_tokens) {
      finished = FinishedEvent{.reason = FinishReason::kLength};
    }
  }
  if (finished) {
    // What was held back belongs to the text after all, unless it completes a stop string.
    StopMatcher::Result rest = stop_.Push(decoder_.Flush());
    event.text += rest.text;
    if (rest.matched.empty()) {
      event.text += stop_.Flush();
    } else {
      finished = FinishedEvent{.reason = FinishReason::kStop, .stop_string = rest.matched};
    }
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
