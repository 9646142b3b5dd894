#include "tests/engine/serve/engine_loop_fixture.h"

#include <cmath>
#include <set>
#include <utility>

#include "engine/base/random.h"
#include "engine/sample/sampler.h"

namespace transmla {

uint64_t HashRunner::Chain(uint64_t before, int32_t token) {
  return Random(before).Split(static_cast<uint64_t>(token))();
}

void HashRunner::Logits(uint64_t hash, int32_t last_token, absl::Span<float> logits) {
  Random random(hash);
  for (float& logit : logits) logit = static_cast<float>(8 * random.Uniform());
  logits[kPoison] = -1000;
  if (last_token == kPoison) logits[3] = std::nanf("");
}

void HashRunner::Allow(int64_t steps) {
  absl::MutexLock lock(&mutex_);
  allowed_ = steps;
  if (steps > 0) held_ = false;
}

void HashRunner::WaitUntilHeld() const {
  absl::MutexLock lock(&mutex_);
  EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&held_), absl::Seconds(120)));
}

void HashRunner::Fail() {
  absl::MutexLock lock(&mutex_);
  fails_ = true;
}

int64_t HashRunner::steps() const {
  absl::MutexLock lock(&mutex_);
  return steps_;
}

absl::Status HashRunner::Pass() {
  absl::MutexLock lock(&mutex_);
  const auto may_pass = [this]()
                            ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return allowed_ > 0 || fails_; };
  held_ = !may_pass();
  mutex_.Await(absl::Condition(&may_pass));
  held_ = false;
  ++steps_;
  if (fails_) return absl::InternalError("the device fell off");
  --allowed_;
  return absl::OkStatus();
}

void HashRunner::CheckForm(const RaggedBatch& batch) const {
  EXPECT_GT(batch.tokens(), 0);
  EXPECT_LE(batch.tokens(), options_.max_step_tokens);
  EXPECT_LE(batch.sequences(), options_.max_running);
  std::set<PageId> pages;
  for (const PageId page : batch.pages) {
    EXPECT_TRUE(page >= 0 && page < options_.pages);
    EXPECT_TRUE(pages.insert(page).second) << "page " << page << " twice in a batch";
  }
}

uint64_t& HashRunner::Cell(const RaggedBatch& batch, int sequence, int position) {
  const int page = batch.page_starts[sequence] + position / kPageTokens;
  EXPECT_LT(page, batch.page_starts[sequence + 1]);
  return cells_[static_cast<size_t>(batch.pages[page]) * kPageTokens + position % kPageTokens];
}

absl::StatusOr<absl::Span<const float>> HashRunner::Run(const RaggedBatch& batch,
                                                        absl::FunctionRef<void()> alive) {
  if (absl::Status status = Pass(); !status.ok()) return status;
  CheckForm(batch);
  alive();
  logits_.resize(batch.logit_tokens.size() * TestTokenizer::kVocabulary);
  size_t row = 0;
  for (int s = 0; s < batch.sequences(); ++s) {
    for (int t = batch.sequence_starts[s]; t < batch.sequence_starts[s + 1]; ++t) {
      const int position = batch.positions[t];
      const uint64_t before = position == 0 ? 0 : Cell(batch, s, position - 1);
      uint64_t& cell = Cell(batch, s, position);
      cell = Chain(before, batch.token_ids[t]);
      if (row == batch.logit_tokens.size() || batch.logit_tokens[row] != t) continue;
      Logits(cell, batch.token_ids[t],
             absl::MakeSpan(logits_).subspan(row++ * TestTokenizer::kVocabulary,
                                             TestTokenizer::kVocabulary));
    }
  }
  EXPECT_EQ(row, batch.logit_tokens.size());
  return logits_;
}

namespace {

// The text up to the stop string that is complete first. REQUIRES: one stop string at most.
bool CutAtStop(const StopParams& stop, std::string& text) {
  if (stop.stop_strings.empty()) return false;
  const size_t at = text.find(stop.stop_strings[0]);
  if (at == std::string::npos) return false;
  text.resize(at);
  return true;
}

}  // namespace

Expected Alone(const GenerateRequest& request) {
  const TestTokenizer tokenizer;
  Sampler sampler;
  std::vector<float> logits(TestTokenizer::kVocabulary);
  uint64_t hash = 0;
  int32_t last = 0;
  for (const int32_t token : request.prompt) hash = HashRunner::Chain(hash, last = token);
  Expected expected;
  std::vector<int32_t> generated;
  while (expected.completion_tokens < request.stop.max_tokens) {
    HashRunner::Logits(hash, last, absl::MakeSpan(logits));
    const auto position = static_cast<int64_t>(request.prompt.size() + generated.size());
    last = sampler.Draw(logits, {.sampling = request.sampling, .position = position})->token;
    ++expected.completion_tokens;
    if (last == TestTokenizer::kEos && !request.stop.ignore_eos) {
      expected.reason = FinishReason::kStop;
      break;
    }
    generated.push_back(last);
    hash = HashRunner::Chain(hash, last);
    expected.text = tokenizer.Decode(generated, true);
    if (CutAtStop(request.stop, expected.text)) {
      expected.reason = FinishReason::kStop;
      return expected;
    }
  }
  return expected;
}

EngineLoopTest::EngineLoopTest() {
  options_.scheduler = {.max_step_tokens = 64, .max_running = 8, .pages = 24};
  options_.max_queued_requests = 64;
  options_.context.tokenizer = std::make_shared<TestTokenizer>();
  options_.context.eos_token_ids = {TestTokenizer::kEos};
  options_.context.max_context_tokens = 20 * kPageTokens;
}

EngineLoopTest::~EngineLoopTest() {
  if (runner_ != nullptr) runner_->Open();  // or the engine's thread never ends
}

void EngineLoopTest::Start(bool fake_time) {
  Clock* const clock = fake_time ? &clock_ : SystemClock();
  runner_ = std::make_unique<HashRunner>(options_.scheduler);
  loop_ = std::make_unique<EngineLoop>(options_, runner_.get(), clock, stats_.get());
}

GenerateRequest EngineLoopTest::Request(const std::string& id, int prompt_tokens, int max_tokens,
                                        uint64_t seed) {
  GenerateRequest request;
  request.id = id;
  Random random(seed);
  for (int i = 0; i < prompt_tokens; ++i) {
    request.prompt.push_back(static_cast<int32_t>(random.Below(256)));
  }
  request.sampling.temperature = 0;
  request.stop.max_tokens = max_tokens;
  return request;
}

absl::Status EngineLoopTest::Submit(const GenerateRequest& request,
                                    const std::shared_ptr<EventSink>& sink) {
  absl::StatusOr<std::function<void()>> place = loop_->Reserve();
  if (!place.ok()) return place.status();
  return loop_->Submit(*std::move(place), request, sink);
}

std::shared_ptr<RecordingSink> EngineLoopTest::Submitted(const GenerateRequest& request) {
  auto sink = std::make_shared<RecordingSink>();
  const absl::Status status = Submit(request, sink);
  EXPECT_TRUE(status.ok()) << status;
  return sink;
}

void EngineLoopTest::ExpectEmpty() {
  EXPECT_TRUE(loop_->WaitUntilIdle(absl::Seconds(120)));
  const EngineStats stats = loop_->stats();
  EXPECT_EQ(stats.pages_used, 0);
  EXPECT_EQ(stats.requests_running, 0);
  EXPECT_EQ(stats.requests_waiting, 0);
  EXPECT_EQ(stats.queued_prompt_tokens, 0);
  std::vector<std::function<void()>> places;
  for (int i = 0; i < options_.max_queued_requests; ++i) {
    absl::StatusOr<std::function<void()>> place = loop_->Reserve();
    if (absl::IsUnavailable(place.status())) break;  // draining, stopped or failed
    EXPECT_TRUE(place.ok()) << "place " << i << " was not given back: " << place.status();
    if (place.ok()) places.push_back(*std::move(place));
  }
  for (const auto& give_back : places) give_back();
}

void EngineLoopTest::Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 60000 && !condition(); ++i) SystemClock()->Sleep(absl::Milliseconds(2));
  EXPECT_TRUE(condition());
}

}  // namespace transmla
