// StreamWriter turns the events of one RPC's sequences into its messages, in order, one write at a
// time.
//
// Guarantees, whatever the order in which engine, client and transport act:
// - Accepted is the first message; nothing is written before Accept, so that an End before it is a
//   refusal without headers (trailers only) which clients may retry.
// - The transport sees one write at a time and exactly one Close, never during a write, and
//   nothing after it.
// - A slow reader costs bounded memory: what the engine makes during a write becomes one chunk an
//   index; beyond kMaxBacklogBytes the stream ends with SLOW_CONSUMER.
// - A stream that ends with an error writes no Finished after that error.
// - `cancel` (frees what the engine holds) runs at most once, and only if the stream ends before
//   all of its sequences did.
//
// Thread-safe. Owned by shared_ptr: the engine's sinks and the transport's reactor keep it alive.
// One mutex; the transport and `cancel` are called under it, so both must only start work.
#ifndef TRANSMLA_SERVER_STREAM_WRITER_H_
#define TRANSMLA_SERVER_STREAM_WRITER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "transmla/v1/generation.pb.h"

#include "engine/base/clock.h"
#include "engine/serve/request.h"
#include "server/translate.h"

namespace transmla {

// Where messages go: a gRPC stream, or the one response of GenerateOnce.
class StreamTransport {
 public:
  virtual ~StreamTransport() = default;
  // True if the message is gone already; false if StreamWriter::OnWriteDone will say so. The
  // message stays valid until then.
  virtual bool Write(const v1::GenerateResponse& message) = 0;
  // The last call. The transport may be gone when it returns.
  virtual void Close(const absl::Status& status) = 0;
  // Breaks a write that does not end.
  virtual void BreakWrite() = 0;
};

class StreamWriter {
 public:
  struct Options {
    int sequences = 1;
    OutputSelection selection;
    Clock* clock = SystemClock();
  };

  // `transport` must live until its Close.
  StreamWriter(const Options& options, StreamTransport* transport);

  // --- from whoever starts the request ---

  // All sequences are with the engine, and `cancel` ends them. False if the stream is over already:
  // `cancel` was not kept, and the caller ends them. REQUIRES: called once, not after End.
  bool Accept(v1::Accepted accepted, std::function<void()> cancel);
  // Ends the stream with `status`, after what is still to be written. The first end counts.
  void End(const absl::Status& status);

  // More of what was asked for of the prompt: comes after Accepted and before the chunks.
  void OnPrompt(const v1::PromptInfo& prompt);

  // --- from the engine, for sequence `index` ---
  void OnTokens(int index, const TokenEvent& event);
  void OnFinished(int index, v1::Finished finished, const RequestUsage& usage);

  // --- from the transport ---
  void OnWriteDone(bool ok);
  void OnCancel(const absl::Status& why);

  // --- from a timer ---

  // Ends the stream and breaks its write if that has been under way for `limit`; true if it did so
  // just now.
  bool EndIfStalled(absl::Duration limit);

  bool finished() const;
  // Bytes of output that wait for the reader.
  size_t backlog_bytes() const;
  // Of all sequences, so far.
  int64_t completion_tokens() const;

 private:
  struct Sequence {
    v1::Chunk chunk;  // what is new since the last write
    size_t chunk_bytes = 0;
    bool has_chunk = false;
    v1::Finished finished;
    bool is_finished = false;  // the engine is done with it
    bool finished_sent = false;
    RequestUsage usage;
  };

  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool NextMessage() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FillUsage(v1::Usage* usage) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops what is not written, ends the engine's work, finishes as soon as no write is under way.
  void Abort(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool AllFinished() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts output that waits. False, and the stream ends, if it is too much.
  bool AddBacklog(size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const OutputSelection selection_;
  Clock* const clock_;

  mutable absl::Mutex mutex_;
  StreamTransport* transport_ ABSL_GUARDED_BY(mutex_);  // null once finished
  std::vector<Sequence> sequences_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> cancel_ ABSL_GUARDED_BY(mutex_);
  v1::Accepted accepted_message_ ABSL_GUARDED_BY(mutex_);
  v1::PromptInfo prompt_ ABSL_GUARDED_BY(mutex_);  // what waits of it
  size_t prompt_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool accepted_ ABSL_GUARDED_BY(mutex_) = false;
  bool accepted_sent_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;   // `end_status_` is set
  bool discard_ ABSL_GUARDED_BY(mutex_) = false;  // write no more
  absl::Status end_status_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // BreakWrite was called
  absl::Time write_start_ ABSL_GUARDED_BY(mutex_);
  v1::GenerateResponse message_ ABSL_GUARDED_BY(mutex_);  // the one being written
  size_t next_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t backlog_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of all chunks that wait
};

}  // namespace transmla

#endif  // TRANSMLA_SERVER_STREAM_WRITER_H_
