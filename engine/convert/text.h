// Calibration and evaluation text, as token sequences: from files, or sampled from the model
// itself.
#ifndef TRANSMLA_ENGINE_CONVERT_TEXT_H_
#define TRANSMLA_ENGINE_CONVERT_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/backend.h"
#include "engine/base/file.h"
#include "engine/convert/calibrate.h"
#include "engine/model/decoder.h"
#include "engine/tokenizer/tokenizer.h"

namespace transmla {

// Token ids of the files in order, without special tokens; at most about `max_tokens`: reading
// stops once there are so many. NotFound or PermissionDenied, naming the file.
absl::StatusOr<std::vector<int32_t>> ReadTextIds(FileSystem& files,
                                                 absl::Span<const std::string> paths,
                                                 const Tokenizer& tokenizer, int64_t max_tokens);

// How many sequences of what length.
struct SequenceCount {
  int sequences = 0;
  int length = 0;  // tokens

  int64_t tokens() const { return int64_t{sequences} * length; }
};

struct TextSplit {
  std::vector<std::vector<int32_t>> calibration;
  std::vector<std::vector<int32_t>> choice;  // held back to choose a cache ratio on, if one is
  std::vector<std::vector<int32_t>> evaluation;
};

// Cuts evaluation sequences from the end of `ids` and calibration sequences from what precedes,
// spread evenly over it and then shuffled, always alike: any number of the first ones is of the
// whole text too. A text that is too short for both gives its last fifth to evaluation, as far as
// that holds a whole sequence (perhaps a shorter one). Of calibration there is at least one whole
// sequence: InvalidArgument, naming both numbers, if the text does not hold it.
// `evaluation.sequences` may be 0.
absl::StatusOr<TextSplit> SplitText(absl::Span<const int32_t> ids, const SequenceCount& calibration,
                                    const SequenceCount& evaluation);

// What sampling needs a model loaded with.
StepLimits SamplingLimits(int length);

// Sequences that the model writes itself: a first token drawn uniformly from the vocabulary, then
// draws at temperature 1. The same seed gives the same text, whatever is run beside it.
absl::StatusOr<std::vector<std::vector<int32_t>>> SampleSequences(Decoder& decoder,
                                                                  Backend& backend,
                                                                  const SequenceCount& count,
                                                                  uint64_t seed,
                                                                  const SequenceProgress& progress);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_TEXT_H_
