#include "server/stream_writer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/error_reason.h"
#include "server/limits.h"

namespace transmla {
namespace {

// Of a token event in its message: text, and the most that ids and log-probabilities take.
size_t BytesOf(const TokenEvent& event, const OutputSelection& selection) {
  size_t bytes = selection.text ? event.text.size() : 0;
  for (const ToolCallEvent& call : event.tool_calls) {
    bytes += call.id.size() + call.call.name.size() + call.call.arguments.size();
  }
  if (!selection.tokens) return bytes;
  constexpr size_t kTokenBytes = 16;
  for (const TokenInfo& token : event.tokens) bytes += kTokenBytes * (1 + token.top.size());
  return bytes;
}

}  // namespace

StreamWriter::StreamWriter(const Options& options, StreamTransport* transport)
    : selection_(options.selection),
      clock_(options.clock),
      transport_(transport),
      sequences_(static_cast<size_t>(options.sequences)) {}

bool StreamWriter::Accept(v1::Accepted accepted, std::function<void()> cancel) {
  absl::MutexLock lock(&mutex_);
  CHECK(!accepted_);
  if (ending_) return false;
  accepted_message_ = std::move(accepted);
  accepted_ = true;
  // An engine may be faster than its Submit returns; then nobody would let go of what `cancel`
  // holds.
  if (!AllFinished()) cancel_ = std::move(cancel);
  Pump();
  return true;
}

void StreamWriter::End(const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  if (ending_) return;
  if (!accepted_) {
    Abort(status);
    return;
  }
  ending_ = true;
  end_status_ = status;
  if (cancel_ && !AllFinished()) std::exchange(cancel_, nullptr)();
  Pump();
}

bool StreamWriter::AddBacklog(size_t bytes) {
  if (backlog_bytes_ + bytes > kMaxBacklogBytes) {
    Abort(WithReason(absl::ResourceExhaustedError(
                         absl::StrCat("the client reads too slowly: more than ", kMaxBacklogBytes,
                                      " bytes of output wait for it")),
                     reason::kSlowConsumer));
    return false;
  }
  backlog_bytes_ += bytes;
  return true;
}

void StreamWriter::OnPrompt(const v1::PromptInfo& prompt) {
  absl::MutexLock lock(&mutex_);
  if (ending_) return;
  const size_t bytes = prompt.ByteSizeLong();
  if (bytes == 0 || !AddBacklog(bytes)) return;
  prompt_bytes_ += bytes;
  prompt_.MergeFrom(prompt);
  Pump();
}

void StreamWriter::OnTokens(int index, const TokenEvent& event) {
  absl::MutexLock lock(&mutex_);
  if (ending_) return;
  Sequence& sequence = sequences_[static_cast<size_t>(index)];
  sequence.usage = event.usage;
  const size_t bytes = BytesOf(event, selection_);
  // An event that holds back its text shows the client nothing; the next one carries the usage.
  if (bytes == 0) return;
  if (!AddBacklog(bytes)) return;
  sequence.chunk_bytes += bytes;
  AppendEvent(event, selection_, &sequence.chunk);
  sequence.chunk.set_index(static_cast<uint32_t>(index));
  sequence.has_chunk = true;
  Pump();
}

void StreamWriter::OnFinished(int index, v1::Finished finished, const RequestUsage& usage) {
  absl::MutexLock lock(&mutex_);
  Sequence& sequence = sequences_[static_cast<size_t>(index)];
  sequence.usage = usage;
  sequence.is_finished = true;
  sequence.finished = std::move(finished);
  sequence.finished.set_index(static_cast<uint32_t>(index));
  if (AllFinished()) cancel_ = nullptr;
  if (!ending_) Pump();
}

void StreamWriter::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  CHECK(writing_);
  writing_ = false;
  if (!ok && !ending_) {
    Abort(WithReason(absl::CancelledError("the client went away"), reason::kCancelledByClient));
    return;
  }
  // The stream is broken: nothing that is left can be written.
  if (!ok) discard_ = true;
  Pump();
}

void StreamWriter::OnCancel(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  if (ending_) {
    discard_ = true;
    Pump();
    return;
  }
  Abort(why);
}

bool StreamWriter::EndIfStalled(absl::Duration limit) {
  absl::MutexLock lock(&mutex_);
  if (!writing_ || broken_ || clock_->Now() - write_start_ < limit) return false;
  broken_ = true;
  StreamTransport* const transport = transport_;
  Abort(WithReason(absl::ResourceExhaustedError(absl::StrCat("the client took nothing for ",
                                                             absl::FormatDuration(limit),
                                                             "; read the stream as it comes")),
                   reason::kSlowConsumer));
  // Still writing, so not finished: the transport is there.
  transport->BreakWrite();
  return true;
}

bool StreamWriter::finished() const {
  absl::MutexLock lock(&mutex_);
  return transport_ == nullptr;
}

size_t StreamWriter::backlog_bytes() const {
  absl::MutexLock lock(&mutex_);
  return backlog_bytes_;
}

int64_t StreamWriter::completion_tokens() const {
  absl::MutexLock lock(&mutex_);
  int64_t tokens = 0;
  for (const Sequence& sequence : sequences_) tokens += sequence.usage.completion_tokens;
  return tokens;
}

void StreamWriter::Abort(const absl::Status& status) {
  if (!ending_) {
    ending_ = true;
    end_status_ = status;
  }
  discard_ = true;
  backlog_bytes_ = 0;
  prompt_bytes_ = 0;
  prompt_.Clear();
  for (Sequence& sequence : sequences_) sequence.chunk.Clear();
  if (cancel_) std::exchange(cancel_, nullptr)();
  Pump();
}

bool StreamWriter::AllFinished() const {
  return std::all_of(sequences_.begin(), sequences_.end(),
                     [](const Sequence& sequence) { return sequence.is_finished; });
}

void StreamWriter::Pump() {
  while (transport_ != nullptr && !writing_) {
    if (!discard_ && accepted_ && NextMessage()) {
      // Set first: the end of the write may be reported before Write returns.
      writing_ = true;
      write_start_ = clock_->Now();
      if (!transport_->Write(message_)) return;
      writing_ = false;
      continue;
    }
    const bool done = !ending_ && std::all_of(sequences_.begin(), sequences_.end(),
                                              [](const Sequence& s) { return s.finished_sent; });
    if (done) {
      ending_ = true;
      end_status_ = absl::OkStatus();
    }
    if (!ending_) return;
    backlog_bytes_ = 0;
    cancel_ = nullptr;
    std::exchange(transport_, nullptr)->Close(end_status_);
  }
}

bool StreamWriter::NextMessage() {
  message_.Clear();
  if (!accepted_sent_) {
    accepted_sent_ = true;
    *message_.mutable_accepted() = accepted_message_;
    return true;
  }
  if (prompt_bytes_ > 0) {
    backlog_bytes_ -= std::exchange(prompt_bytes_, 0);
    message_.mutable_prompt()->Swap(&prompt_);
    prompt_.Clear();
    FillUsage(message_.mutable_usage());
    return true;
  }
  // Round robin over the sequences; an index's Finished comes after its last chunk.
  for (size_t i = 0; i < sequences_.size(); ++i) {
    Sequence& sequence = sequences_[(next_sequence_ + i) % sequences_.size()];
    const bool finish =
        sequence.is_finished && !ending_ && !sequence.has_chunk && !sequence.finished_sent;
    if (!sequence.has_chunk && !finish) continue;
    if (finish) {
      sequence.finished_sent = true;
      message_.mutable_finished()->Swap(&sequence.finished);
    } else {
      sequence.has_chunk = false;
      backlog_bytes_ -= std::exchange(sequence.chunk_bytes, 0);
      message_.mutable_chunk()->Swap(&sequence.chunk);
    }
    next_sequence_ = (next_sequence_ + i + 1) % sequences_.size();
    FillUsage(message_.mutable_usage());
    return true;
  }
  return false;
}

void StreamWriter::FillUsage(v1::Usage* usage) const {
  int prompt = static_cast<int>(accepted_message_.prompt_tokens());
  int cached = 0;
  int completion = 0;
  for (const Sequence& sequence : sequences_) {
    cached = std::max(cached, sequence.usage.cached_prompt_tokens);
    completion += sequence.usage.completion_tokens;
  }
  usage->set_prompt_tokens(static_cast<uint32_t>(prompt));
  usage->set_cached_prompt_tokens(static_cast<uint32_t>(cached));
  usage->set_completion_tokens(static_cast<uint32_t>(completion));
}

}  // namespace transmla
