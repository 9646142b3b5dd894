#include "engine/convert/text.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/base/thread_pool.h"
#include "engine/convert/evaluate.h"
#include "engine/convert/sequence_runner.h"

namespace transmla {
namespace {

// Sequences sampled side by side: enough that a step's matrix products are not a memory read each.
constexpr int kSamplingLanes = 32;

// Tokens are rarely longer than this many bytes; bounds how much of a long text is tokenised.
constexpr int64_t kBytesPerToken = 8;

// A prefix of at most `bytes` that ends before white space, so that no word is cut in two.
// Tokenisation of the text before white space does not depend on what follows it.
absl::string_view PrefixOfWholeWords(absl::string_view text, int64_t bytes) {
  if (static_cast<int64_t>(text.size()) <= bytes) return text;
  const absl::string_view head = text.substr(0, static_cast<size_t>(bytes));
  const size_t last = head.find_last_of(" \n");
  return last == absl::string_view::npos || last == 0 ? head : head.substr(0, last);
}

// One draw from softmax(logits).
int32_t Draw(absl::Span<const float> logits, double uniform) {
  const float max = *std::max_element(logits.begin(), logits.end());
  std::vector<float> weights(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) sum += weights[i] = std::exp(logits[i] - max);
  double left = uniform * sum;
  for (size_t i = 0; i < weights.size(); ++i) {
    left -= weights[i];
    if (left < 0) return static_cast<int32_t>(i);
  }
  // Rounding left a crumb: the likeliest token stands for it.
  return static_cast<int32_t>(std::max_element(weights.begin(), weights.end()) - weights.begin());
}

// Continues `sequences` (one token each) side by side to `length` tokens, while `go_on` is OK.
absl::Status Continue(SequenceRunner& runner, ThreadPool& pool, size_t vocabulary, int length,
                      const Random& random, size_t first_index,
                      absl::FunctionRef<absl::Status()> go_on,
                      absl::Span<std::vector<int32_t>> sequences) {
  for (int position = 0; position + 1 < length; ++position) {
    RETURN_IF_ERROR(go_on());
    std::vector<SequenceChunk> chunks;
    for (size_t lane = 0; lane < sequences.size(); ++lane)
      chunks.push_back({.lane = static_cast<int>(lane),
                        .position = position,
                        .tokens = absl::MakeConstSpan(sequences[lane]).last(1),
                        .logits = 1});
    ASSIGN_OR_RETURN(const absl::Span<const float> logits, runner.Run(chunks));
    if (!std::isfinite(logits[0]))
      return absl::DataLossError(
          "the model gives logits that are no numbers; its weights are damaged");
    std::vector<int32_t> drawn(sequences.size());
    pool.ParallelFor(static_cast<int64_t>(sequences.size()), [&](int64_t lane, int) {
      Random draw = random.Split(first_index + lane).Split(position);
      drawn[lane] = Draw(logits.subspan(lane * vocabulary, vocabulary), draw.Uniform());
    });
    for (size_t lane = 0; lane < sequences.size(); ++lane) sequences[lane].push_back(drawn[lane]);
  }
  return absl::OkStatus();
}

// Keeps `count` of the sequences, evenly spread, in an order that is no text's.
void SpreadAndShuffle(size_t count, std::vector<std::vector<int32_t>>& sequences) {
  const size_t all = sequences.size();
  if (all > count) {
    for (size_t i = 0; i < count; ++i) std::swap(sequences[i], sequences[i * all / count]);
    sequences.resize(count);
  }
  Random random = Random(0).Split("order of calibration text");
  for (size_t i = sequences.size(); i > 1; --i)
    std::swap(sequences[i - 1], sequences[random.Below(i)]);
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> ReadTextIds(FileSystem& files,
                                                 absl::Span<const std::string> paths,
                                                 const Tokenizer& tokenizer, int64_t max_tokens) {
  std::vector<int32_t> ids;
  for (const std::string& path : paths) {
    if (static_cast<int64_t>(ids.size()) >= max_tokens) break;
    ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, files.Map(path));
    // Piece by piece, for how many bytes a token takes is known only afterwards.
    absl::string_view rest = file->bytes();
    while (!rest.empty() && static_cast<int64_t>(ids.size()) < max_tokens) {
      const int64_t wanted = (max_tokens - static_cast<int64_t>(ids.size())) * kBytesPerToken;
      const absl::string_view text =
          PrefixOfWholeWords(rest, std::min<int64_t>(wanted, Tokenizer::kMaxTextBytes));
      absl::StatusOr<std::vector<TokenId>> more =
          tokenizer.Encode(text, {.add_bos = false, .parse_special = false});
      if (!more.ok()) return Annotate(more.status(), path);
      ids.insert(ids.end(), more->begin(), more->end());
      rest.remove_prefix(text.size());
    }
  }
  return ids;
}

absl::StatusOr<TextSplit> SplitText(absl::Span<const int32_t> ids, const SequenceCount& calibration,
                                    const SequenceCount& evaluation) {
  const int64_t available = static_cast<int64_t>(ids.size());
  int64_t for_evaluation = std::min(evaluation.tokens(), available - calibration.tokens());
  if (for_evaluation < evaluation.tokens())
    for_evaluation = std::max(for_evaluation, std::min(evaluation.tokens(), available / 5));
  // Calibration needs one sequence before evaluation gets any.
  for_evaluation = std::max<int64_t>(0, std::min(for_evaluation, available - calibration.length));
  const size_t for_calibration = static_cast<size_t>(available - for_evaluation);

  TextSplit split;
  const size_t windows = for_calibration / static_cast<size_t>(calibration.length);
  absl::StatusOr<std::vector<std::vector<int32_t>>> cut =
      CutSequences(ids.first(for_calibration), static_cast<int>(std::max<size_t>(1, windows)),
                   calibration.length);
  if (!cut.ok()) return Annotate(cut.status(), "calibration text");
  SpreadAndShuffle(static_cast<size_t>(calibration.sequences), *cut);
  split.calibration = *std::move(cut);
  const int length = static_cast<int>(std::min<int64_t>(evaluation.length, for_evaluation));
  if (length < 2) return split;
  ASSIGN_OR_RETURN(split.evaluation,
                   CutSequences(ids.subspan(for_calibration), evaluation.sequences, length));
  return split;
}

StepLimits SamplingLimits(int length) {
  return {.max_tokens = kSamplingLanes,
          .max_sequences = kSamplingLanes,
          .max_logit_tokens = kSamplingLanes,
          .max_context_tokens = length};
}

absl::StatusOr<std::vector<std::vector<int32_t>>> SampleSequences(
    Decoder& decoder, Backend& backend, const SequenceCount& count, uint64_t seed,
    const SequenceProgress& progress) {
  const Random random = Random(seed).Split("calibration text");
  const size_t vocabulary = decoder.spec().vocab_size;
  ASSIGN_OR_RETURN(SequenceRunner runner, SequenceRunner::Create(decoder, backend, DType::kBF16,
                                                                 kSamplingLanes, count.length));
  ThreadPool pool(backend.info().host_threads);
  std::vector<std::vector<int32_t>> sequences(count.sequences);
  for (size_t i = 0; i < sequences.size(); ++i) {
    Random first = random.Split(i).Split("first token");
    sequences[i].push_back(static_cast<int32_t>(first.Below(vocabulary)));
  }
  for (size_t first = 0; first < sequences.size(); first += kSamplingLanes) {
    const absl::Span<std::vector<int32_t>> lanes =
        absl::MakeSpan(sequences).subspan(first, kSamplingLanes);
    const auto go_on = [&] { return progress(static_cast<int>(first), count.sequences); };
    RETURN_IF_ERROR(Continue(runner, pool, vocabulary, count.length, random, first, go_on, lanes));
    RETURN_IF_ERROR(progress(static_cast<int>(first + lanes.size()), count.sequences));
  }
  return sequences;
}

}  // namespace transmla
