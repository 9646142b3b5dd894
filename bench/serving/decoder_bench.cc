// Tokens a second of one model on the CPU, without a server: prefill of N tokens into an empty
// cache, then decode of one sequence behind those N, or of several at once (--streams), each behind
// N of its own.
//
//   decoder_bench --model PATH [--contexts 512,4096] [--threads 2] [--runs 3] [--json]
//
// Prompts are random token ids (speed does not depend on them), in chunks as the server's engine
// makes them. Each context is warmed up with one untimed chunk; further streams get copies of the
// first one's cache. Prints medians over the runs, one `name: value unit` a line; a decode line
// also says how much of the machine's memory bandwidth the bytes it had to read come to (weights
// once, cache once; over 100 % means that the processor's caches served part of them).
// --bandwidth=false leaves that out: measuring it takes 512 MiB, which would count in the process's
// peak memory.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include <nlohmann/json.hpp>

#include "engine/backend/cpu/create.h"
#include "engine/base/checked_math.h"
#include "engine/base/clock.h"
#include "engine/base/cpu_info.h"
#include "engine/base/page.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/base/thread_pool.h"
#include "engine/format/checkpoint.h"
#include "engine/model/decoder.h"

ABSL_FLAG(std::string, model, "", "GGUF file or folder");
ABSL_FLAG(std::vector<std::string>, contexts, std::vector<std::string>({"512", "4096"}),
          "Tokens of prefill, and depth of decode; several with commas");
ABSL_FLAG(int, threads, 0, "Threads; 0: all usable cores");
ABSL_FLAG(std::string, cache_dtype, "bf16", "As of the server");
ABSL_FLAG(bool, expanded_attention, false,
          "Prompts of a latent model attend in expanded form from their second chunk on");
ABSL_FLAG(int, runs, 3, "Timed runs of each context; medians are printed");
ABSL_FLAG(int, decode_tokens, 32, "Tokens decoded a run");
ABSL_FLAG(int, streams, 1, "Sequences that decode at once; their tokens a second are added up");
ABSL_FLAG(int, chunk, 512, "Tokens of a prefill step, as --max_step_tokens of the server");
ABSL_FLAG(bool, quantised_activations, true, "As CpuOptions; true as in the server");
ABSL_FLAG(absl::Duration, settle, absl::Seconds(3),
          "Wait so long once loaded: weights then move to huge pages, as a server's do");
ABSL_FLAG(bool, bandwidth, true, "Measure the machine's read bandwidth too");
ABSL_FLAG(bool, json, false, "Print one JSON object instead of lines");

namespace transmla {
namespace {

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

absl::StatusOr<std::vector<int>> ParseContexts(const std::vector<std::string>& texts) {
  std::vector<int> contexts;
  for (const std::string& text : texts) {
    int context = 0;
    if (!absl::SimpleAtoi(text, &context) || context < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--contexts has '", text, "'; each must be a positive number of tokens"));
    }
    contexts.push_back(context);
  }
  return contexts;
}

// Bytes a second that `threads` read from memory: the best of a few passes over 512 MiB.
double ReadBandwidth(int threads) {
  constexpr int64_t kWords = int64_t{64} << 20;
  constexpr int64_t kPart = int64_t{1} << 17;
  constexpr int kPasses = 5;
  const std::vector<uint64_t> data(kWords, 1);
  std::vector<uint64_t> sums(kWords / kPart);
  ThreadPool pool(threads);
  absl::Duration best = absl::InfiniteDuration();
  for (int pass = 0; pass < kPasses; ++pass) {
    const absl::Time start = SystemClock()->Now();
    pool.ParallelFor(kWords / kPart, [&](int64_t part, int) {
      const auto first = data.begin() + part * kPart;
      sums[part] = std::accumulate(first, first + kPart, uint64_t{0});
    });
    best = std::min(best, SystemClock()->Now() - start);
  }
  // The sum is known, so the compiler may not leave the reading out.
  const uint64_t sum = std::accumulate(sums.begin(), sums.end(), uint64_t{0});
  return static_cast<double>(sum * sizeof(uint64_t)) / absl::ToDoubleSeconds(best);
}

// Bytes of weights that a decode step reads: all but an embedding table of its own, of which it
// reads one row.
int64_t WeightBytesPerStep(const CheckpointReader& checkpoint, const Decoder& decoder) {
  if (decoder.spec().tie_word_embeddings) return decoder.weight_bytes();
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (tensor.name != "token_embd.weight" && tensor.name != "model.embed_tokens.weight") continue;
    return decoder.weight_bytes() - RowBytes(tensor.dtype, tensor.shape.elements());
  }
  return decoder.weight_bytes();
}

struct ContextSpeed {
  int context = 0;
  double prefill = 0;  // tokens a second
  double decode = 0;   // tokens a second
};

// Sequences fed with random tokens.
class SpeedRun {
 public:
  // Each of `streams` sequences has `pages` pages of `store`, one after the other.
  SpeedRun(Backend& backend, Decoder& decoder, KvStore& store, int chunk, int streams, int pages)
      : backend_(backend),
        decoder_(decoder),
        store_(store),
        chunk_(chunk),
        streams_(streams),
        pages_(pages),
        tokens_(std::max(chunk, streams)) {
    Random random(1);
    for (int32_t& token : tokens_) {
      token = static_cast<int32_t>(random.Below(decoder.spec().vocab_size));
    }
  }

  // Seconds to compute positions [0, context) of the first sequence.
  absl::StatusOr<double> Prefill(int context) {
    const absl::Time start = SystemClock()->Now();
    for (int position = 0; position < context; position += chunk_) {
      RETURN_IF_ERROR(Step(1, position, std::min(chunk_, context - position)));
    }
    return absl::ToDoubleSeconds(SystemClock()->Now() - start);
  }

  // Gives every sequence what the first one has cached of positions [0, context).
  absl::Status Share(int context) {
    std::vector<std::pair<PageId, PageId>> copies;
    for (int stream = 1; stream < streams_; ++stream) {
      for (int page = 0; page < CeilDiv(context, kPageTokens); ++page) {
        copies.emplace_back(page, stream * pages_ + page);
      }
    }
    return backend_.CopyPages(&store_, copies);
  }

  // Seconds to compute `count` positions from `context` on of every sequence, one a step.
  absl::StatusOr<double> Decode(int context, int count) {
    const absl::Time start = SystemClock()->Now();
    for (int i = 0; i < count; ++i) RETURN_IF_ERROR(Step(streams_, context + i, 1));
    return absl::ToDoubleSeconds(SystemClock()->Now() - start);
  }

 private:
  // Computes positions [position, position + count) of the first `sequences` sequences, and the
  // logits of each one's last.
  absl::Status Step(int sequences, int position, int count) {
    RaggedBatch batch;
    batch.token_ids.assign(tokens_.begin(), tokens_.begin() + sequences * count);
    batch.sequence_starts = {0};
    batch.page_starts = {0};
    for (int s = 0; s < sequences; ++s) {
      for (int i = 0; i < count; ++i) batch.positions.push_back(position + i);
      const int used = CeilDiv(position + count, kPageTokens);
      for (int page = 0; page < used; ++page) batch.pages.push_back(s * pages_ + page);
      batch.logit_tokens.push_back(static_cast<int32_t>(batch.positions.size()) - 1);
      batch.sequence_starts.push_back(static_cast<int32_t>(batch.positions.size()));
      batch.page_starts.push_back(static_cast<int32_t>(batch.pages.size()));
    }
    for (int s = 0; s < sequences; ++s) {
      const bool expanded = absl::GetFlag(FLAGS_expanded_attention) && count > 1 && position > 0;
      const int end = batch.sequence_starts[s + 1];
      batch.expanded.push_back({expanded ? batch.sequence_starts[s] : end, end});
    }
    return decoder_.Run(batch, &store_).status();
  }

  Backend& backend_;
  Decoder& decoder_;
  KvStore& store_;
  int chunk_;
  int streams_;
  int pages_;                    // of each sequence
  std::vector<int32_t> tokens_;  // of a step at most, each in [0, vocab_size)
};

absl::StatusOr<ContextSpeed> Measure(SpeedRun& run, int context) {
  const int decode_tokens = absl::GetFlag(FLAGS_decode_tokens);
  RETURN_IF_ERROR(run.Prefill(std::min(context, absl::GetFlag(FLAGS_chunk))).status());
  std::vector<double> prefill;
  std::vector<double> decode;
  for (int i = 0; i < absl::GetFlag(FLAGS_runs); ++i) {
    ASSIGN_OR_RETURN(const double prefill_s, run.Prefill(context));
    RETURN_IF_ERROR(run.Share(context));
    ASSIGN_OR_RETURN(const double decode_s, run.Decode(context, decode_tokens));
    prefill.push_back(context / prefill_s);
    decode.push_back(absl::GetFlag(FLAGS_streams) * decode_tokens / decode_s);
  }
  return ContextSpeed{.context = context, .prefill = Median(prefill), .decode = Median(decode)};
}

struct Report {
  std::string model;
  std::string device;
  std::string attention;
  int64_t weight_bytes = 0;
  int64_t weight_bytes_per_step = 0;
  int64_t cache_bytes_per_token = 0;
  double read_bandwidth = 0;  // bytes a second; 0 if it was not measured
  std::vector<ContextSpeed> speeds;

  // Bytes a second that decode behind `speed.context` tokens reads.
  double DecodeBytesPerSecond(const ContextSpeed& speed) const {
    const double streams = absl::GetFlag(FLAGS_streams);
    const double bytes = static_cast<double>(weight_bytes_per_step) +
                         streams * static_cast<double>(cache_bytes_per_token * speed.context);
    return speed.decode / streams * bytes;
  }
};

void PrintLines(const Report& report) {
  absl::PrintF("# %s, %s attention, on %s\n", report.model, report.attention, report.device);
  absl::PrintF("weights: %.1f MB\n", report.weight_bytes * 1e-6);
  absl::PrintF("cache: %d bytes/token\n", report.cache_bytes_per_token);
  if (report.read_bandwidth > 0) {
    absl::PrintF("read_bandwidth: %.1f GB/s\n", report.read_bandwidth * 1e-9);
  }
  for (const ContextSpeed& speed : report.speeds) {
    absl::PrintF("prefill_ctx%d: %.1f tokens/s\n", speed.context, speed.prefill);
    absl::PrintF("decode_ctx%d: %.1f tokens/s", speed.context, speed.decode);
    if (report.read_bandwidth > 0) {
      absl::PrintF("  (%.0f %% of memory bandwidth)",
                   100 * report.DecodeBytesPerSecond(speed) / report.read_bandwidth);
    }
    absl::PrintF("\n");
  }
}

void PrintJson(const Report& report) {
  nlohmann::json speeds = nlohmann::json::array();
  for (const ContextSpeed& speed : report.speeds) {
    speeds.push_back({{"context", speed.context},
                      {"prefill_tokens_per_s", speed.prefill},
                      {"decode_tokens_per_s", speed.decode},
                      {"decode_bytes_per_s", report.DecodeBytesPerSecond(speed)}});
  }
  const nlohmann::json object = {{"model", report.model},
                                 {"device", report.device},
                                 {"attention", report.attention},
                                 {"weight_bytes", report.weight_bytes},
                                 {"cache_bytes_per_token", report.cache_bytes_per_token},
                                 {"read_bandwidth_bytes_per_s", report.read_bandwidth},
                                 {"speeds", speeds}};
  absl::PrintF("%s\n", object.dump());
}

absl::Status Run() {
  const int chunk = absl::GetFlag(FLAGS_chunk);
  const int decode_tokens = absl::GetFlag(FLAGS_decode_tokens);
  const std::string path = absl::GetFlag(FLAGS_model);
  if (path.empty()) return absl::InvalidArgumentError("--model is missing");
  const int streams = absl::GetFlag(FLAGS_streams);
  if (chunk < 1 || decode_tokens < 1 || streams < 1 || absl::GetFlag(FLAGS_runs) < 1) {
    return absl::InvalidArgumentError(
        "--chunk, --decode_tokens, --streams and --runs must be at least 1");
  }
  ASSIGN_OR_RETURN(const std::vector<int> contexts, ParseContexts(absl::GetFlag(FLAGS_contexts)));
  const int length = *std::max_element(contexts.begin(), contexts.end()) + decode_tokens;
  const int threads = absl::GetFlag(FLAGS_threads);
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> checkpoint, OpenCheckpoint(path));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Backend> backend,
      CreateCpuBackend({.threads = threads,
                        .quantised_activations = absl::GetFlag(FLAGS_quantised_activations)}));
  const StepLimits limits{.max_tokens = std::max(chunk, streams),
                          .max_sequences = streams,
                          .max_logit_tokens = streams,
                          .max_context_tokens = length,
                          .expanded_attention = absl::GetFlag(FLAGS_expanded_attention)};
  ASSIGN_OR_RETURN(const std::unique_ptr<Decoder> decoder,
                   LoadDecoder(checkpoint, backend.get(), limits));
  const int pages = CeilDiv(length, kPageTokens);  // of a sequence
  const std::optional<DType> cache = ParseCacheDType(absl::GetFlag(FLAGS_cache_dtype));
  if (!cache.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("--cache_dtype is '",
                                                   absl::GetFlag(FLAGS_cache_dtype),
                                                   "'; it must be ", kCacheDTypeChoice));
  }
  const KvLayout layout = decoder->spec().CacheLayout(*cache);
  ASSIGN_OR_RETURN(const std::unique_ptr<KvStore> store,
                   backend->CreateKvStore(layout, streams * pages));

  Report report{.model = path,
                .device = backend->info().name,
                .attention = layout.attention == AttentionKind::kMla ? "latent" : "grouped-query",
                .weight_bytes = decoder->weight_bytes(),
                .weight_bytes_per_step = WeightBytesPerStep(*checkpoint, *decoder),
                .cache_bytes_per_token = layout.BytesPerToken()};
  if (absl::GetFlag(FLAGS_bandwidth)) {
    report.read_bandwidth = ReadBandwidth(threads > 0 ? threads : GetCpuInfo().usable_cores);
  }
  absl::SleepFor(absl::GetFlag(FLAGS_settle));
  SpeedRun run(*backend, *decoder, *store, chunk, streams, pages);
  for (const int context : contexts) {
    ASSIGN_OR_RETURN(const ContextSpeed speed, Measure(run, context));
    report.speeds.push_back(speed);
  }
  absl::GetFlag(FLAGS_json) ? PrintJson(report) : PrintLines(report);
  return absl::OkStatus();
}

}  // namespace
}  // namespace transmla

int main(int argc, char** argv) {
  absl::SetProgramUsageMessage("tokens a second of one model on the CPU, prefill and decode");
  absl::ParseCommandLine(argc, argv);
  if (const absl::Status status = transmla::Run(); !status.ok()) {
    absl::FPrintF(stderr, "decoder_bench: %s\n", status.message());
    return 1;
  }
  return 0;
}
