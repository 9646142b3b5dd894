// Client talks to a transmla-server: streams completions, lists, loads and unloads models, runs
// conversions.
//
// Plain types only: users need neither gRPC nor protobuf headers. Thread-safe; calls block their
// thread until the server has answered or the deadline has passed.
//
//   ASSIGN_OR_RETURN(auto client, Client::Connect({.server = "127.0.0.1:8033"}));
//   CompletionRequest request{.text = "The sea is"};
//   auto result = client->Generate(request, [](const CompletionDelta& d) { std::cout << d.text;
//   return true; });
#ifndef TRANSMLA_CLIENT_LIB_CLIENT_H_
#define TRANSMLA_CLIENT_LIB_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace transmla {

struct ClientOptions {
  std::string server = "127.0.0.1:8033";  // host:port
  bool tls = false;
  std::string tls_ca_file;  // PEM; empty: the system's certificate authorities
  std::string
      tls_cert_file;  // PEM, for servers that ask clients for a certificate; with tls_key_file
  std::string tls_key_file;
  absl::Duration connect_timeout = absl::Seconds(5);
};

struct ConversationTurn {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

// One completion request. Exactly one of text, token_ids and messages is used: the first that is
// not empty, from below. Absent options are the server's defaults
// (proto/transmla/v1/generation.proto).
struct CompletionRequest {
  std::string model;  // empty: the one that the server was started with
  std::string text;
  std::vector<uint32_t> token_ids;
  std::vector<ConversationTurn> messages;

  std::optional<float> temperature;
  std::optional<float> top_p;
  std::optional<uint32_t> top_k;
  std::optional<float> min_p;
  std::optional<float> typical_p;
  std::optional<float> repetition_penalty;
  std::optional<float> presence_penalty;
  std::optional<float> frequency_penalty;
  std::optional<uint64_t> seed;
  std::optional<uint32_t> max_tokens;
  std::optional<bool> ignore_eos;
  std::vector<std::string> stop_strings;
  std::vector<std::string> bad_words;
  std::optional<uint32_t> draft_tokens;
  // What the completion may be; at most one.
  std::string json_schema;
  std::string regex;
  std::string grammar;
  std::string tenant;
  int32_t priority = 0;
  std::string request_id;
  absl::Duration timeout = absl::InfiniteDuration();
};

struct CompletionDelta {
  uint32_t index = 0;
  std::string text;                // new text since the last delta of this index
  uint32_t completion_tokens = 0;  // generated so far, all indices
};

struct CompletionResult {
  std::string request_id;
  std::string text;           // of index 0
  std::string finish_reason;  // "stop", "length" or "cancelled"
  uint64_t seed = 0;
  uint32_t prompt_tokens = 0;
  uint32_t cached_prompt_tokens = 0;
  uint32_t completion_tokens = 0;
  // Measured on the server.
  absl::Duration server_queue;
  absl::Duration server_prefill;
  absl::Duration server_decode;
  // Measured here, from the call to the first delta with text and to the end.
  absl::Duration time_to_first_token;
  absl::Duration total;
};

struct ModelDescription {
  std::string name;
  std::string family;
  std::string state;      // "loading", "ready", "draining", "failed"
  std::string attention;  // "gqa" or "mla"
  uint32_t vocab_size = 0;
  uint32_t num_layers = 0;
  uint32_t hidden_size = 0;
  uint32_t num_attention_heads = 0;
  uint32_t num_key_value_heads = 0;
  uint32_t kv_lora_rank = 0;
  uint32_t qk_rope_head_dim = 0;
  uint32_t max_context_tokens = 0;
  std::string device;
  uint64_t weight_bytes = 0;
  std::string cache_dtype;
  uint64_t cache_bytes_per_token = 0;
  uint64_t gqa_equivalent_cache_bytes_per_token = 0;
  uint64_t cache_pages = 0;
  bool has_chat_template = false;
  bool expanded_prompts = false;
};

// `path` is relative to the server's conversion root. Absent options are the server's.
struct LoadRequest {
  std::string path;
  std::string name;  // empty: the file's or folder's
  std::optional<uint64_t> cache_memory_bytes;
  std::string cache_dtype;
  std::optional<uint32_t> max_context_tokens;
};

// Absent options are the converter's defaults. Paths are relative to the server's conversion root.
struct ConversionRequest {
  std::string source;
  std::string destination;
  bool overwrite = false;
  bool validate_only = false;
  std::string recipe;
  std::string format;
  std::optional<bool> shared_frequencies;
  std::optional<bool> keep_output;
  std::optional<uint32_t> qk_rope_head_dim;
  std::optional<uint32_t> kv_lora_rank;
  std::optional<double> cache_ratio;
  double max_perplexity_increase = 0;  // a share, as 0.05; 0: not asked for
  std::vector<double> compare_ratios;
  int64_t recovery_tokens = 0;
  std::optional<uint32_t> q_lora_rank;
  std::optional<uint32_t> freqfold;
  std::optional<double> balance_kv_ratio;
  std::optional<uint32_t> nsamples;
  std::optional<uint32_t> seqlen;
  std::optional<uint64_t> seed;
  std::vector<std::string> text_files;
  bool sample_text = false;
  std::string dtype;
  std::optional<uint32_t> evaluation_sequences;
  std::string serve_as;  // name to load the result under; empty: it is not loaded
};

struct ConversionState {
  std::string operation;  // name to poll, wait for and cancel
  bool done = false;
  std::string stage;
  double progress_ratio = 0;
  uint32_t layers_done = 0;
  uint32_t layers_total = 0;
  absl::Duration time_left = absl::InfiniteDuration();
  std::string report_json;     // when done and successful
  std::string load_operation;  // that loads the result, with serve_as
  absl::Status load_error;     // why there is none
};

class Client {
 public:
  virtual ~Client() = default;

  // Unavailable, naming the address, if no server answers within connect_timeout; InvalidArgument
  // for broken files.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const ClientOptions& options);

  // Streams one completion; `on_delta` is called for each chunk and ends the stream by returning
  // false (Cancelled).
  virtual absl::StatusOr<CompletionResult> Generate(
      const CompletionRequest& request,
      const std::function<bool(const CompletionDelta&)>& on_delta) = 0;

  virtual absl::StatusOr<std::vector<ModelDescription>> ListModels() = 0;
  // Return when the model is served, or gone. However long that takes: it goes on if this end does.
  virtual absl::StatusOr<ModelDescription> LoadModel(const LoadRequest& request) = 0;
  virtual absl::Status UnloadModel(const std::string& name) = 0;
  // The same for a load that a conversion began.
  virtual absl::StatusOr<ModelDescription> WaitLoad(const std::string& operation) = 0;
  virtual absl::StatusOr<std::vector<uint32_t>> Tokenize(const std::string& text) = 0;

  virtual absl::StatusOr<ConversionState> StartConversion(const ConversionRequest& request) = 0;
  // Answers when the operation is done, or after `timeout` with the state it has then. A failed
  // conversion is its error.
  virtual absl::StatusOr<ConversionState> WaitConversion(const std::string& operation,
                                                         absl::Duration timeout) = 0;
  virtual absl::Status CancelConversion(const std::string& operation) = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_LIB_CLIENT_H_
