// FakeEngine: an engine without a model, whose pace, limits and failures a test sets.
//
// A prompt is answered with its own tokens over and over, one a step, up to max_tokens. Ids are
// bytes.
#ifndef TRANSMLA_TESTS_SERVER_FAKE_ENGINE_H_
#define TRANSMLA_TESTS_SERVER_FAKE_ENGINE_H_

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"

#include "engine/base/error_reason.h"
#include "engine/base/thread.h"
#include "engine/engine.h"

namespace transmla::testing {

class ByteTokenizer : public Tokenizer {
 public:
  absl::StatusOr<std::vector<TokenId>> Encode(absl::string_view text,
                                              const EncodeOptions&) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string TokenBytes(TokenId id) const override {
    return IsControl(id) ? "" : std::string(1, static_cast<char>(id));
  }
  bool IsControl(TokenId id) const override { return id >= 256; }
  std::string TokenText(TokenId id) const override { return TokenBytes(id); }
  int vocab_size() const override { return 257; }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  absl::Span<const TokenId> eos() const override { return {}; }
  std::optional<TokenId> Find(absl::string_view) const override { return std::nullopt; }
};

// "role:content\n" for every message.
class PlainTemplate : public ChatTemplate {
 public:
  absl::StatusOr<std::string> Render(const ChatTemplateInput& input) const override {
    std::string text;
    for (const ChatMessage& message : input.messages) {
      text += message.role + ":" + message.content + "\n";
    }
    return text;
  }
  const std::string& source() const override { return source_; }

 private:
  const std::string source_;
};

class FakeEngine : public Engine {
 public:
  struct Options {
    absl::Duration step = absl::Milliseconds(1);
    int max_live = 64;  // Reserve is ResourceExhausted beyond
    int max_context = 1 << 21;
    int tokens_a_step = 1;
    bool paused = false;  // nothing starts until Resume
    std::string name = "fake";
  };

  explicit FakeEngine(Options options, StatsSink* stats = nullptr)
      : options_(options), stats_(stats), paused_(options.paused) {
    model_.name = options.name;
    model_.spec.vocab_size = 257;
    model_.spec.family = "fake";
    model_.max_context_tokens = options.max_context;
    model_.cache_pages = 100;
    model_.device = "none";
    thread_ = Thread("fake-engine", [this] { Loop(); });
  }
  ~FakeEngine() override { Stop(); }

  const ModelInfo& model() const override { return model_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const ChatTemplate* chat_template() const override { return &template_; }
  ConstraintCompiler& constraints() override { return constraints_; }

  absl::StatusOr<AdmissionTicket> Reserve() override {
    absl::MutexLock lock(&mutex_);
    if (stopped_ || draining_) return Draining();
    if (tickets_ >= options_.max_live) return absl::ResourceExhaustedError("the queue is full");
    ++tickets_;
    return AdmissionTicket([this] {
      absl::MutexLock ticket_lock(&mutex_);
      --tickets_;
    });
  }

  absl::Status Submit(AdmissionTicket ticket, GenerateRequest request,
                      std::shared_ptr<EventSink> sink) override {
    absl::MutexLock lock(&mutex_);
    if (stopped_) return Draining();
    for (const auto& live : live_) {
      if (live->request.id == request.id) return absl::AlreadyExistsError("id in use");
    }
    auto live = std::make_unique<Live>();
    live->request = std::move(request);
    live->ticket = std::move(ticket);
    live->sink = std::move(sink);
    live_.push_back(std::move(live));
    return absl::OkStatus();
  }

  void Cancel(const std::string& id) override {
    absl::MutexLock lock(&cancel_mutex_);
    cancels_.push_back(id);
    ++cancel_calls_;
  }

  EngineStats stats() const override {
    absl::MutexLock lock(&mutex_);
    EngineStats stats;
    stats.requests_running = static_cast<int64_t>(paused_ ? 0 : live_.size());
    stats.requests_waiting = static_cast<int64_t>(paused_ ? live_.size() : 0);
    stats.pages_total = 100;
    stats.pages_used = static_cast<int64_t>(live_.size());
    stats.bytes_per_page = 1024;
    stats.cache_bytes_per_token = 16;
    stats.gqa_equivalent_bytes_per_token = 48;
    stats.failed = failed_;
    stats.heartbeat_age = heartbeat_age_;
    return stats;
  }

  void StartDraining() override {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
  }
  bool WaitUntilIdle(absl::Duration timeout) override {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(
        absl::Condition(
            +[](std::vector<std::unique_ptr<Live>>* live) { return live->empty(); }, &live_),
        timeout);
  }
  void Stop() override {
    {
      absl::MutexLock lock(&mutex_);
      stopped_ = true;
    }
    absl::MutexLock lock(&join_mutex_);
    thread_.Join();
  }

  // --- for tests ---
  void Resume() {
    absl::MutexLock lock(&mutex_);
    paused_ = false;
  }
  void SetFailed() {
    absl::MutexLock lock(&mutex_);
    failed_ = true;
  }
  void SetHeartbeatAge(absl::Duration age) {
    absl::MutexLock lock(&mutex_);
    heartbeat_age_ = age;
  }
  int64_t live() const { return stats().pages_used; }
  int tickets() const {
    absl::MutexLock lock(&mutex_);
    return tickets_;
  }
  int cancel_calls() const {
    absl::MutexLock lock(&cancel_mutex_);
    return cancel_calls_;
  }

 private:
  struct Live {
    GenerateRequest request;
    AdmissionTicket ticket;
    std::shared_ptr<EventSink> sink;
    RequestUsage usage;
  };

  // As the engine says it: a request may find out after the server looked.
  static absl::Status Draining() {
    return WithReason(absl::UnavailableError("the server is shutting down"), "DRAINING");
  }

  // Ends `live` and gives back what it holds before anybody hears of it.
  void End(std::unique_ptr<Live> live, const absl::Status& status, FinishReason reason) {
    live->usage.prompt_tokens = static_cast<int>(live->request.prompt.size());
    live->ticket = AdmissionTicket();
    if (stats_ != nullptr) stats_->OnEnd(status, reason, live->usage, {});
    if (!status.ok()) return live->sink->OnError(status, live->usage);
    FinishedEvent event;
    event.reason = reason;
    event.usage = live->usage;
    event.seed = live->request.sampling.seed;
    live->sink->OnFinished(event);
  }

  void Loop() {
    while (true) {
      absl::SleepFor(options_.step);
      std::vector<std::string> cancels;
      {
        absl::MutexLock lock(&cancel_mutex_);
        cancels.swap(cancels_);
      }
      std::vector<std::pair<std::unique_ptr<Live>, absl::Status>> ended;
      std::vector<Live*> running;
      bool stop = false;
      {
        absl::MutexLock lock(&mutex_);
        stop = stopped_;
        for (auto& live : live_) {
          const bool cancelled =
              std::find(cancels.begin(), cancels.end(), live->request.id) != cancels.end();
          absl::Status end;
          if (stop) end = absl::UnavailableError("the engine stopped");
          if (cancelled) end = absl::CancelledError("");
          if (absl::Now() > live->request.deadline) end = absl::DeadlineExceededError("late");
          const bool full = live->usage.completion_tokens >= MaxTokens(*live);
          if (!end.ok() || full) {
            ended.emplace_back(std::move(live), end);
          } else if (!paused_) {
            running.push_back(live.get());
          }
        }
        live_.erase(std::remove(live_.begin(), live_.end(), nullptr), live_.end());
      }
      for (auto& [live, status] : ended) {
        if (absl::IsCancelled(status)) {
          End(std::move(live), absl::OkStatus(), FinishReason::kCancelled);
        } else {
          End(std::move(live), status, FinishReason::kLength);
        }
      }
      for (Live* live : running) Generate(live);
      if (stop) return;
    }
  }

  int MaxTokens(const Live& live) const {
    return live.request.stop.max_tokens > 0 ? live.request.stop.max_tokens : 1000000;
  }

  void Generate(Live* live) {
    TokenEvent event;
    for (int i = 0; i < options_.tokens_a_step; ++i) {
      if (live->usage.completion_tokens >= MaxTokens(*live)) break;
      const auto position = static_cast<size_t>(live->usage.completion_tokens);
      const int32_t token = live->request.prompt[position % live->request.prompt.size()];
      event.tokens.push_back({token, -1.0f, {}});
      event.text += static_cast<char>(token);
      ++live->usage.completion_tokens;
    }
    live->usage.prompt_tokens = static_cast<int>(live->request.prompt.size());
    event.usage = live->usage;
    live->sink->OnTokens(std::move(event));
  }

  const Options options_;
  StatsSink* const stats_;
  ModelInfo model_;
  ByteTokenizer tokenizer_;
  PlainTemplate template_;
  ConstraintCompiler constraints_{[this] {
    std::vector<std::string> bytes;
    for (int id = 0; id < tokenizer_.vocab_size(); ++id) bytes.push_back(tokenizer_.TokenBytes(id));
    return bytes;
  }};
  absl::Mutex join_mutex_;
  mutable absl::Mutex mutex_;
  mutable absl::Mutex cancel_mutex_;
  std::vector<std::unique_ptr<Live>> live_;
  std::vector<std::string> cancels_;
  int cancel_calls_ = 0;
  int tickets_ = 0;
  bool paused_ = false;
  bool stopped_ = false;
  bool draining_ = false;
  bool failed_ = false;
  absl::Duration heartbeat_age_;
  Thread thread_;
};

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_SERVER_FAKE_ENGINE_H_
