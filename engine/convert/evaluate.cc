#include "engine/convert/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/base/thread_pool.h"
#include "engine/convert/sequence_runner.h"

namespace transmla {
namespace {

// Tokens of a step. Every position needs its logits: 128 rows of 150,000 words are 77 MB.
constexpr int kStepTokens = 128;

using Logits = absl::Span<const float>;

// log Σ exp(logits), without overflow.
double LogSumExp(Logits logits) {
  float max = -std::numeric_limits<float>::infinity();
  for (const float value : logits) max = std::max(max, value);
  double sum = 0;
  for (const float value : logits) sum += std::exp(value - max);
  return max + std::log(sum);
}

size_t ArgMax(Logits logits) {
  return static_cast<size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

// What two models say about one position.
struct Position {
  double source_loss = 0;
  double result_loss = 0;
  double kl_divergence = 0;
  double max_difference = 0;
  bool agree = false;
};

Position ComparePosition(Logits source, Logits result, int32_t target) {
  Position position;
  const double source_norm = LogSumExp(source);
  const double result_norm = LogSumExp(result);
  position.source_loss = source_norm - source[target];
  position.result_loss = result_norm - result[target];
  for (size_t i = 0; i < source.size(); ++i) {
    const double log_p = source[i] - source_norm;
    const double log_q = result[i] - result_norm;
    position.kl_divergence += std::exp(static_cast<float>(log_p)) * (log_p - log_q);
    position.max_difference =
        std::max<double>(position.max_difference, std::abs(source[i] - result[i]));
  }
  position.agree = ArgMax(source) == ArgMax(result);
  return position;
}

// The part of `sequence` that one step runs, and how many of its tokens have a successor to
// predict.
struct Step {
  SequenceChunk chunk;
  int predictions = 0;
};

Step StepAt(absl::Span<const int32_t> sequence, int position) {
  Step step;
  step.chunk.position = position;
  step.chunk.tokens = sequence.subspan(position, kStepTokens);
  const int tokens = static_cast<int>(step.chunk.tokens.size());
  const bool last = position + tokens == static_cast<int>(sequence.size());
  // The last token of a sequence has no successor, but its logits come along: they are the last row
  // and are ignored.
  step.chunk.logits = tokens;
  step.predictions = last ? tokens - 1 : tokens;
  return step;
}

int LongestOf(absl::Span<const std::vector<int32_t>> sequences) {
  size_t longest = 0;
  for (const std::vector<int32_t>& sequence : sequences)
    longest = std::max(longest, sequence.size());
  return static_cast<int>(longest);
}

absl::Status CheckPredictable(absl::Span<const std::vector<int32_t>> sequences) {
  if (sequences.empty()) return absl::InvalidArgumentError("no sequence to evaluate on");
  for (const std::vector<int32_t>& sequence : sequences) {
    if (sequence.size() < 2)
      return absl::InvalidArgumentError(
          absl::StrCat("an evaluation sequence has ", sequence.size(),
                       " tokens but at least 2 are needed: the first is not predicted"));
  }
  return absl::OkStatus();
}

absl::Status CheckFinite(double loss, const ModelSpec& spec) {
  if (std::isfinite(loss)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("model ", spec.name,
                                          " gives logits that are no numbers (loss ", loss,
                                          "); its weights are damaged"));
}

}  // namespace

absl::StatusOr<std::vector<std::vector<int32_t>>> CutSequences(absl::Span<const int32_t> text_ids,
                                                               int sequences, int length) {
  if (sequences <= 0 || length <= 0)
    return absl::InvalidArgumentError(absl::StrCat("cannot cut ", sequences, " sequences of ",
                                                   length, " tokens: both must be positive"));
  const size_t step = static_cast<size_t>(length);
  if (text_ids.size() < step)
    return absl::InvalidArgumentError(absl::StrCat("the text has ", text_ids.size(),
                                                   " tokens but one sequence needs ", length,
                                                   "; give more text or shorter sequences"));
  std::vector<std::vector<int32_t>> cut;
  for (size_t begin = 0;
       begin + step <= text_ids.size() && cut.size() < static_cast<size_t>(sequences);
       begin += step)
    cut.emplace_back(text_ids.begin() + begin, text_ids.begin() + begin + step);
  return cut;
}

StepLimits EvaluationLimits(int length) {
  const int tokens = std::min(kStepTokens, length);
  return {.max_tokens = tokens,
          .max_sequences = 1,
          .max_logit_tokens = tokens,
          .max_context_tokens = length};
}

namespace {

// Gives the logits of a step of sequence `index`; valid until the next call.
using LogitSource = std::function<absl::StatusOr<Logits>(size_t index, const SequenceChunk& chunk)>;

struct ComparedModel {
  const ModelSpec* spec = nullptr;
  LogitSource logits;
};

absl::StatusOr<PerplexityResult> PerplexityOf(const ComparedModel& model,
                                              absl::Span<const std::vector<int32_t>> sequences,
                                              int threads, const EvaluationProgress& progress) {
  RETURN_IF_ERROR(CheckPredictable(sequences));
  ThreadPool pool(threads);
  const size_t vocabulary = model.spec->vocab_size;
  double total = 0;
  PerplexityResult result;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const absl::Span<const int32_t> sequence = sequences[s];
    for (int position = 0; position < static_cast<int>(sequence.size()); position += kStepTokens) {
      const Step step = StepAt(sequence, position);
      ASSIGN_OR_RETURN(const Logits logits, model.logits(s, step.chunk));
      std::vector<double> losses(step.predictions);
      pool.ParallelFor(step.predictions, [&](int64_t i, int) {
        const Logits row = logits.subspan(i * vocabulary, vocabulary);
        losses[i] = LogSumExp(row) - row[sequence[position + i + 1]];
      });
      for (const double loss : losses) total += loss;
      result.tokens += step.predictions;
    }
    RETURN_IF_ERROR(CheckFinite(total, *model.spec));
    if (progress && !progress(static_cast<int>(s) + 1, static_cast<int>(sequences.size())))
      return absl::CancelledError("evaluation cancelled");
  }
  result.perplexity = std::exp(total / static_cast<double>(result.tokens));
  return result;
}

absl::StatusOr<QualityReport> Compare(const ComparedModel& source, const ComparedModel& result,
                                      absl::Span<const std::vector<int32_t>> sequences, int threads,
                                      const EvaluationProgress& progress) {
  RETURN_IF_ERROR(CheckPredictable(sequences));
  const size_t vocabulary = source.spec->vocab_size;
  if (result.spec->vocab_size != source.spec->vocab_size)
    return absl::InvalidArgumentError(absl::StrCat("vocabularies differ: ", vocabulary, " and ",
                                                   result.spec->vocab_size, " tokens"));
  ThreadPool pool(threads);
  Position total;
  int64_t agreements = 0;
  QualityReport report;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const absl::Span<const int32_t> sequence = sequences[s];
    for (int position = 0; position < static_cast<int>(sequence.size()); position += kStepTokens) {
      const Step step = StepAt(sequence, position);
      ASSIGN_OR_RETURN(const Logits source_logits, source.logits(s, step.chunk));
      ASSIGN_OR_RETURN(const Logits result_logits, result.logits(s, step.chunk));
      std::vector<Position> positions(step.predictions);
      pool.ParallelFor(step.predictions, [&](int64_t i, int) {
        positions[i] = ComparePosition(source_logits.subspan(i * vocabulary, vocabulary),
                                       result_logits.subspan(i * vocabulary, vocabulary),
                                       sequence[position + i + 1]);
      });
      for (const Position& compared : positions) {
        total.source_loss += compared.source_loss;
        total.result_loss += compared.result_loss;
        total.kl_divergence += compared.kl_divergence;
        total.max_difference = std::max(total.max_difference, compared.max_difference);
        agreements += compared.agree ? 1 : 0;
      }
      report.tokens += step.predictions;
    }
    RETURN_IF_ERROR(CheckFinite(total.source_loss, *source.spec));
    RETURN_IF_ERROR(CheckFinite(total.result_loss, *result.spec));
    if (progress && !progress(static_cast<int>(s) + 1, static_cast<int>(sequences.size())))
      return absl::CancelledError("evaluation cancelled");
  }
  const double count = static_cast<double>(report.tokens);
  report.perplexity_before = std::exp(total.source_loss / count);
  report.perplexity_after = std::exp(total.result_loss / count);
  report.kl_divergence = total.kl_divergence / count;
  report.greedy_agreement = static_cast<double>(agreements) / count;
  report.max_logit_difference = total.max_difference;
  return report;
}

// `runner` is one of `model`.
LogitSource LogitsOf(const EvaluatedModel& model, SequenceRunner& runner) {
  return [&model, &runner](size_t, SequenceChunk chunk) {
    chunk.expanded = model.expanded_attention;
    return runner.Run({chunk});
  };
}

// The tokens before each sequence.
std::vector<int64_t> FirstTokens(absl::Span<const std::vector<int32_t>> sequences) {
  std::vector<int64_t> firsts;
  int64_t tokens = 0;
  for (const std::vector<int32_t>& sequence : sequences) {
    firsts.push_back(tokens);
    tokens += static_cast<int64_t>(sequence.size());
  }
  return firsts;
}

// `firsts` are FirstTokens.
LogitSource LogitsOf(const EvaluatedStreams& model, const std::vector<int64_t>& firsts) {
  return [&model, &firsts](size_t index, const SequenceChunk& chunk) -> absl::StatusOr<Logits> {
    const int64_t width = model.spec->hidden_size;
    const int64_t first = firsts[index] + chunk.position;
    const auto tokens = static_cast<int64_t>(chunk.tokens.size());
    ASSIGN_OR_RETURN(const absl::string_view bytes,
                     model.streams->Slice(first * width * int64_t{sizeof(float)},
                                          tokens * width * int64_t{sizeof(float)}));
    const absl::Span<const float> hidden(reinterpret_cast<const float*>(bytes.data()),
                                         tokens * width);
    const int pages = CeilDiv(chunk.position + static_cast<int>(tokens), kPageTokens);
    return model.ends->Logits(BatchOf({chunk}, pages), hidden);
  };
}

}  // namespace

absl::StatusOr<PerplexityResult> EvaluatePerplexity(
    const EvaluatedModel& model, absl::Span<const std::vector<int32_t>> sequences,
    DType cache_dtype, const EvaluationProgress& progress) {
  ASSIGN_OR_RETURN(SequenceRunner runner,
                   SequenceRunner::Create(*model.decoder, *model.backend, cache_dtype, 1,
                                          std::max(1, LongestOf(sequences))));
  return PerplexityOf({&model.decoder->spec(), LogitsOf(model, runner)}, sequences,
                      model.backend->info().host_threads, progress);
}

absl::StatusOr<PerplexityResult> StreamsPerplexity(const EvaluatedStreams& model,
                                                   absl::Span<const std::vector<int32_t>> sequences,
                                                   int threads,
                                                   const EvaluationProgress& progress) {
  const std::vector<int64_t> firsts = FirstTokens(sequences);
  return PerplexityOf({model.spec, LogitsOf(model, firsts)}, sequences, threads, progress);
}

absl::StatusOr<QualityReport> CompareStreams(const EvaluatedStreams& source,
                                             const EvaluatedStreams& result,
                                             absl::Span<const std::vector<int32_t>> sequences,
                                             int threads, const EvaluationProgress& progress) {
  const std::vector<int64_t> firsts = FirstTokens(sequences);
  return Compare({source.spec, LogitsOf(source, firsts)}, {result.spec, LogitsOf(result, firsts)},
                 sequences, threads, progress);
}

absl::StatusOr<QualityReport> CompareModels(const EvaluatedModel& source,
                                            const EvaluatedModel& result,
                                            absl::Span<const std::vector<int32_t>> sequences,
                                            DType cache_dtype, const EvaluationProgress& progress) {
  const int longest = std::max(1, LongestOf(sequences));
  ASSIGN_OR_RETURN(
      SequenceRunner source_runner,
      SequenceRunner::Create(*source.decoder, *source.backend, cache_dtype, 1, longest));
  ASSIGN_OR_RETURN(
      SequenceRunner result_runner,
      SequenceRunner::Create(*result.decoder, *result.backend, cache_dtype, 1, longest));
  return Compare({&source.decoder->spec(), LogitsOf(source, source_runner)},
                 {&result.decoder->spec(), LogitsOf(result, result_runner)}, sequences,
                 result.backend->info().host_threads, progress);
}

}  // namespace transmla
