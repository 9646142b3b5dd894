#include "engine/serve/engine_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "engine/serve/batch_builder.h"

namespace transmla {
namespace {

// How often a loop without work shows that it is alive, and looks for requests out of time.
constexpr absl::Duration kIdlePeriod = absl::Milliseconds(500);

absl::Status Unavailable(const char* what, absl::string_view reason) {
  return WithReason(absl::UnavailableError(what), reason);
}

}  // namespace

EngineLoop::EngineLoop(const EngineLoopOptions& options, StepRunner* runner, Clock* clock,
                       StatsSink* stats_sink, SpillFile* spill)
    : options_(options),
      runner_(runner),
      clock_(clock),
      stats_sink_(stats_sink),
      spill_(spill),
      heartbeat_ns_(absl::ToUnixNanos(clock->Now())),
      scheduler_(options.scheduler, spill) {
  {
    absl::MutexLock lock(&mutex_);
    PublishStats();
  }
  thread_ = Thread("engine", [this] { Loop(); });
}

EngineLoop::~EngineLoop() { Stop(); }

absl::StatusOr<std::function<void()>> EngineLoop::Reserve() {
  absl::MutexLock lock(&mutex_);
  if (!failure_.ok()) return failure_;
  if (draining_ || stop_) return Unavailable("the server is shutting down", "DRAINING");
  if (places_ >= options_.max_queued_requests) {
    return WithReason(absl::ResourceExhaustedError(
                          absl::StrCat("the queue is full: ", places_, " requests wait, at most ",
                                       options_.max_queued_requests, " may")),
                      "QUEUE_FULL");
  }
  ++places_;
  return [this] {
    absl::MutexLock inner(&mutex_);
    --places_;
  };
}

absl::Status EngineLoop::Check(const GenerateRequest& request) const {
  RETURN_IF_ERROR(Validate(request.sampling));
  RETURN_IF_ERROR(Validate(request.stop));
  if (request.prompt.empty()) {
    return absl::InvalidArgumentError("the prompt is empty; it needs at least one token");
  }
  const auto check = [this](absl::string_view what, int32_t token) {
    if (token >= 0 && token < runner_->vocab_size()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(what, " ", token, " is not in the vocabulary of ", runner_->vocab_size()));
  };
  for (const int32_t token : request.prompt) RETURN_IF_ERROR(check("prompt token", token));
  for (const int32_t token : request.sampling.allowed_tokens)
    RETURN_IF_ERROR(check("allowed token", token));
  for (const auto& [token, bias] : request.sampling.logit_bias)
    RETURN_IF_ERROR(check("logit_bias token", token));
  const int64_t prompt = static_cast<int64_t>(request.prompt.size());
  const int64_t wanted = prompt + std::max(request.stop.max_tokens, 1);
  if (wanted > options_.context.max_context_tokens) {
    return WithReason(
        absl::InvalidArgumentError(absl::StrCat(
            "the prompt has ", prompt, " tokens and max_tokens is ", request.stop.max_tokens,
            ", together above the context of ", options_.context.max_context_tokens, " tokens")),
        "CONTEXT_TOO_LONG");
  }
  const int64_t longest =
      request.stop.max_tokens > 0 ? wanted : options_.context.max_context_tokens;
  const int64_t capacity = int64_t{options_.scheduler.pages} * kPageTokens;
  if (longest > capacity) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "the request may need ", longest, " cached tokens, the whole cache has ",
                          capacity, "; lower max_tokens or give the server more cache")),
                      "KV_POOL_TOO_SMALL");
  }
  return absl::OkStatus();
}

absl::Status EngineLoop::Submit(std::function<void()> give_back, GenerateRequest request,
                                std::shared_ptr<EventSink> sink) {
  absl::Status status = Check(request);
  if (status.ok()) {
    const int64_t tokens = static_cast<int64_t>(request.prompt.size());
    const std::string id = request.id;
    auto generation = std::make_unique<Generation>(std::move(request), std::move(sink),
                                                   &options_.context, clock_->Now());
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) {
      status = failure_;
    } else if (stop_) {
      // A place taken before draining began is kept: the request is served.
      status = Unavailable("the server is shutting down", "DRAINING");
    } else if (queued_tokens_ > 0 && queued_tokens_ + tokens > options_.max_queued_tokens) {
      status = WithReason(absl::ResourceExhaustedError(absl::StrCat(
                              "the queue is full: ", queued_tokens_, " prompt tokens wait, ",
                              tokens, " more are above the limit of ", options_.max_queued_tokens)),
                          "QUEUE_TOKENS_FULL");
    } else if (!live_ids_.insert(id).second) {
      status = WithReason(
          absl::AlreadyExistsError(absl::StrCat("a request with the id \"", id, "\" is running")),
          "DUPLICATE_REQUEST");
    } else {
      queued_tokens_ += tokens;
      ++undelivered_ends_;
      submissions_.push_back({std::move(generation), std::move(give_back)});
    }
  }
  if (!status.ok() && give_back) give_back();
  return status;
}

void EngineLoop::Cancel(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  if (live_ids_.contains(id)) cancellations_.push_back({id, clock_->Now()});
}

EngineStats EngineLoop::stats() const {
  absl::MutexLock lock(&mutex_);
  EngineStats stats = stats_;
  // Submissions that the engine thread has not seen yet wait as well.
  stats.requests_waiting = static_cast<int64_t>(live_ids_.size()) - stats.requests_running;
  stats.queued_prompt_tokens = queued_tokens_;
  stats.failed = !failure_.ok();
  stats.heartbeat_age =
      clock_->Now() - absl::FromUnixNanos(heartbeat_ns_.load(std::memory_order_relaxed));
  return stats;
}

void EngineLoop::StartDraining() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
}

bool EngineLoop::WaitUntilIdle(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return undelivered_ends_ == 0; };
  return mutex_.AwaitWithTimeout(absl::Condition(&idle), timeout);
}

void EngineLoop::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  absl::MutexLock lock(&join_mutex_);  // of several that stop, each returns when the thread has
  thread_.Join();
}

bool EngineLoop::Wait(std::vector<Submission>& submissions,
                      std::vector<Cancellation>& cancellations) {
  const bool busy = !scheduler_.idle();
  absl::MutexLock lock(&mutex_);
  if (!busy) {
    const auto work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return stop_ || !submissions_.empty() || !cancellations_.empty();
    };
    mutex_.AwaitWithTimeout(absl::Condition(&work), kIdlePeriod);
  }
  submissions.swap(submissions_);
  cancellations.swap(cancellations_);
  return !stop_;
}

void EngineLoop::Beat() {
  heartbeat_ns_.store(absl::ToUnixNanos(clock_->Now()), std::memory_order_relaxed);
}

void EngineLoop::Loop() {
  std::vector<Submission> submissions;
  std::vector<Cancellation> cancellations;
  bool go_on = true;
  while (go_on) {
    submissions.clear();
    cancellations.clear();
    go_on = Wait(submissions, cancellations);
    Beat();
    for (Submission& submission : submissions) Admit(std::move(submission));
    for (const Cancellation& cancellation : cancellations) {
      const auto found = numbers_.find(cancellation.id);
      if (found == numbers_.end()) continue;  // ended meanwhile
      // A transport tells of a deadline that passed as of any other cancellation.
      if (clock_->Now() >= live_.at(found->second).generation->request().deadline) {
        EndWith(found->second, absl::DeadlineExceededError("the deadline passed"));
        continue;
      }
      EndWith(found->second, FinishedEvent{.reason = FinishReason::kCancelled});
      if (stats_sink_ != nullptr) stats_sink_->OnCancelled(clock_->Now() - cancellation.time);
    }
    if (const absl::Status reason = WhyEnd(); !reason.ok()) EndAll(reason);
    if (!scheduler_.idle()) Step();
    absl::MutexLock lock(&mutex_);
    PublishStats();
  }
}

absl::Status EngineLoop::WhyEnd() const {
  absl::MutexLock lock(&mutex_);
  if (!failure_.ok()) return failure_;
  return stop_ ? Unavailable("the server has stopped", "DRAINING") : absl::OkStatus();
}

void EngineLoop::Admit(Submission submission) {
  const GenerateRequest& request = submission.generation->request();
  auto sequence = std::make_unique<Sequence>();
  sequence->number = next_number_++;
  sequence->priority = request.priority;
  sequence->deadline = request.deadline;
  sequence->queue_deadline = submission.generation->arrival() + request.max_queue_time;
  sequence->tenant = request.tenant;
  sequence->tokens = request.prompt;
  if (request.prompt_logprobs >= 0) {
    sequence->prompt_logits = static_cast<int>(request.prompt.size()) - 1;
  }
  sequence->prefix_cache = request.prefix_cache;
  // Far above the ids of entries; two salts below one root would share pages, and the text be
  // right.
  if (request.cache_salt != 0) sequence->root = request.cache_salt | uint64_t{1} << 63;
  if (const auto first = numbers_.find(request.after); first != numbers_.end()) {
    sequence->after = first->second;
  }
  const uint64_t number = sequence->number;
  numbers_[request.id] = number;
  Live& live = live_[number];
  live.generation = std::move(submission.generation);
  live.give_back = std::move(submission.give_back);
  live.sequence = scheduler_.Add(std::move(sequence));
}

void EngineLoop::Step() {
  const absl::Time start = clock_->Now();
  SetDrafts();
  const Plan plan = scheduler_.Step(start);
  for (const Plan::Expired& expired : plan.expired) EndWith(expired.number, expired.status);
  if (scheduler_.idle()) return;
  // Each waiting sequence fits the empty cache, so that somebody always runs.
  CHECK(!plan.chunks.empty());
  Started(plan, start);
  BuildBatch(plan, batch_);
  const absl::StatusOr<absl::Span<const float>> logits = runner_->Run(batch_, [this] { Beat(); });
  if (!logits.ok()) return Fail(logits.status());
  for (const Plan::Chunk& chunk : plan.chunks) {
    const Sequence& sequence = *chunk.sequence;
    const int prompt = live_.at(sequence.number).generation->usage().prompt_tokens;
    prompt_tokens_computed_ += std::clamp(prompt - sequence.computed, 0, chunk.tokens);
  }
  scheduler_.Computed(plan);
  ++steps_;
  if (stats_sink_ != nullptr) {
    stats_sink_->OnStep(clock_->Now() - start, plan.TotalTokens(),
                        static_cast<int>(plan.chunks.size()));
  }
  Sample(plan, *logits);
}

void EngineLoop::Fail(const absl::Status& status) {
  const absl::Status failure =
      WithReason(absl::UnavailableError(absl::StrCat("the engine failed: ", status.message())),
                 "ENGINE_ERROR");
  {
    absl::MutexLock lock(&mutex_);
    failure_ = failure;
  }
  EndAll(failure);
}

void EngineLoop::Started(const Plan& plan, absl::Time now) {
  int64_t prompt_tokens = 0;
  for (const Plan::Chunk& chunk : plan.chunks) {
    Live& live = live_.at(chunk.sequence->number);
    if (!live.give_back) continue;
    live.generation->Started(now, chunk.sequence->cached_prompt_tokens);
    prompt_tokens_cached_ += chunk.sequence->cached_prompt_tokens;
    std::exchange(live.give_back, nullptr)();
    prompt_tokens += live.generation->usage().prompt_tokens;
  }
  absl::MutexLock lock(&mutex_);
  queued_tokens_ -= prompt_tokens;
  PublishStats();  // the step may be long: whoever looks meanwhile sees who runs
}

void EngineLoop::SetDrafts() {
  for (Sequence* const sequence : scheduler_.running_sequences()) {
    Generation& generation = *live_.at(sequence->number).generation;
    sequence->draft.clear();
    if (!generation.drafts() || !sequence->Decodes()) continue;
    const absl::Span<const int32_t> guess = generation.Guess(sequence->tokens);
    sequence->draft.assign(guess.begin(), guess.end());
  }
}

void EngineLoop::Sample(const Plan& plan, absl::Span<const float> logits) {
  const size_t vocabulary = runner_->vocab_size();
  for (const Plan::Chunk& chunk : plan.chunks) {
    const uint64_t number = chunk.sequence->number;
    Live& live = live_.at(number);
    const absl::Span<const float> rows = logits.subspan(0, chunk.logits * vocabulary);
    logits.remove_prefix(rows.size());
    absl::StatusOr<int> prompt_rows = TakePrompt(chunk, live, rows);
    absl::Status status = prompt_rows.status();
    if (status.ok() && chunk.samples) {
      status = TakeTokens(chunk, live, rows.subspan(*prompt_rows * vocabulary));
    }
    if (status.ok()) continue;
    EndWith(number,
            WithReason(status, absl::IsInternal(status) ? "ENGINE_ERROR" : "NO_TOKEN_ALLOWED"));
  }
}

absl::StatusOr<int> EngineLoop::TakePrompt(const Plan::Chunk& chunk, Live& live,
                                           absl::Span<const float> logits) {
  const Sequence& sequence = *chunk.sequence;
  const int first = sequence.computed + chunk.drafts - chunk.logits;
  const int rows = std::min(sequence.prompt_logits - first, chunk.logits);
  if (rows <= 0) return 0;
  const size_t vocabulary = runner_->vocab_size();
  std::vector<transmla::Sample> tokens;
  for (int row = 0; row < rows; ++row) {
    ASSIGN_OR_RETURN(tokens.emplace_back(), Describe(logits.subspan(row * vocabulary, vocabulary),
                                                     sequence.tokens[first + row + 1],
                                                     live.generation->request().prompt_logprobs));
  }
  live.generation->TakePrompt(first + 1, tokens);
  return rows;
}

absl::Status EngineLoop::TakeTokens(const Plan::Chunk& chunk, Live& live,
                                    absl::Span<const float> logits) {
  const uint64_t number = chunk.sequence->number;
  const size_t vocabulary = runner_->vocab_size();
  draft_tokens_ += chunk.drafts;
  for (int row = 0;; ++row) {
    const Sequence& sequence = *chunk.sequence;
    const SampleRequest& next =
        live.generation->NextSample(static_cast<int64_t>(sequence.tokens.size()));
    RETURN_IF_ERROR(live.generation->ConstraintStatus());
    ASSIGN_OR_RETURN(const transmla::Sample sample,
                     sampler_.Draw(logits.subspan(row * vocabulary, vocabulary), next));
    const bool guessed = row < chunk.drafts && sequence.draft[row] == sample.token;
    if (!TakeToken(number, live, sample, clock_->Now()) || !guessed) return absl::OkStatus();
    scheduler_.AcceptDraft(number);
    ++accepted_draft_tokens_;
  }
}

bool EngineLoop::TakeToken(uint64_t number, Live& live, const transmla::Sample& sample,
                           absl::Time now) {
  ++generation_tokens_;
  const absl::Time last = live.generation->last_token();
  if (stats_sink_ != nullptr) {
    if (last == absl::InfinitePast()) {
      stats_sink_->OnFirstToken(now - live.generation->arrival());
    } else {
      stats_sink_->OnNextToken(now - last);
    }
  }
  scheduler_.Append(number, sample.token);
  std::optional<FinishedEvent> finished = live.generation->Take(sample, now);
  if (!finished) return true;
  EndWith(number, *std::move(finished));
  return false;
}

std::unique_ptr<Generation> EngineLoop::Forget(uint64_t number) {
  Live live = std::move(live_.at(number));
  live_.erase(number);
  const GenerateRequest& request = live.generation->request();
  scheduler_.Finish(number);
  numbers_.erase(request.id);
  const bool waited = static_cast<bool>(live.give_back);
  if (waited) live.give_back();
  absl::MutexLock lock(&mutex_);
  if (waited) queued_tokens_ -= static_cast<int64_t>(request.prompt.size());
  live_ids_.erase(request.id);
  // The id may be used again from now on; what was meant for this request must not reach the next.
  std::erase_if(cancellations_, [&request](const Cancellation& c) { return c.id == request.id; });
  PublishStats();
  return std::move(live.generation);
}

void EngineLoop::EndWith(uint64_t number, FinishedEvent event) {
  const Live& live = live_.at(number);
  const int preemptions = live.sequence->preemptions;
  const absl::Time now = clock_->Now();
  // Before Forget: who sees that nobody is left sees all ends counted.
  if (stats_sink_ != nullptr) {
    stats_sink_->OnEnd(absl::OkStatus(), event.reason, live.generation->usage(),
                       live.generation->Timings(now));
  }
  const std::unique_ptr<Generation> generation = Forget(number);
  generation->Finish(std::move(event), now, preemptions);
  Delivered();
}

void EngineLoop::EndWith(uint64_t number, const absl::Status& status) {
  const Live& live = live_.at(number);
  if (stats_sink_ != nullptr) {
    stats_sink_->OnEnd(status, FinishReason::kStop, live.generation->usage(),
                       live.generation->Timings(clock_->Now()));
  }
  const std::unique_ptr<Generation> generation = Forget(number);
  generation->Fail(status);
  Delivered();
}

void EngineLoop::EndAll(const absl::Status& status) {
  std::vector<uint64_t> numbers;
  for (const auto& [number, live] : live_) numbers.push_back(number);
  std::sort(numbers.begin(), numbers.end());
  for (const uint64_t number : numbers) EndWith(number, status);
}

void EngineLoop::Delivered() {
  absl::MutexLock lock(&mutex_);
  --undelivered_ends_;
}

void EngineLoop::PublishStats() {
  const PagePool& pool = scheduler_.pool();
  stats_.requests_running = scheduler_.running();
  stats_.pages_total = pool.total_pages();
  stats_.pages_used = pool.used_pages();
  if (spill_ != nullptr) {
    stats_.pages_spilled = pool.stored();
    stats_.pages_restored = spill_->restored();
    stats_.spill_failures = spill_->failures();
  }
  stats_.pages_shared = pool.shared_pages();
  stats_.pages_kept = pool.kept_pages();
  stats_.bytes_per_page = options_.bytes_per_page;
  stats_.cache_bytes_per_token = options_.cache_bytes_per_token;
  stats_.gqa_equivalent_bytes_per_token = options_.gqa_equivalent_bytes_per_token;
  stats_.prompt_tokens_computed = prompt_tokens_computed_;
  stats_.prompt_tokens_cached = prompt_tokens_cached_;
  stats_.prefix_queried_tokens = scheduler_.prefix_queried_tokens();
  stats_.prefix_hit_tokens = scheduler_.prefix_hit_tokens();
  stats_.generation_tokens = generation_tokens_;
  stats_.draft_tokens = draft_tokens_;
  stats_.accepted_draft_tokens = accepted_draft_tokens_;
  stats_.preemptions = scheduler_.preemptions();
  stats_.steps = steps_;
}

}  // namespace transmla
