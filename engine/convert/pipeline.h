// Convert: the stages of a conversion in order, with progress and cancellation.
//
// Source → calibrate (second moments only: memory does not grow with the text) → rotate → compress
// → write → evaluate, one layer of the model in memory at a time. The destination appears by one
// rename when all is done: a failed, cancelled or killed conversion leaves no half folder. What a
// killed one had computed waits beside it, and the same conversion goes on from there
// (work_folder.h).
#ifndef TRANSMLA_ENGINE_CONVERT_PIPELINE_H_
#define TRANSMLA_ENGINE_CONVERT_PIPELINE_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "engine/backend/backend.h"
#include "engine/base/clock.h"
#include "engine/base/file.h"
#include "engine/convert/options.h"
#include "engine/convert/report.h"

namespace transmla {

enum class ConversionStage {
  kLoad,       // open, validate, load the source
  kText,       // read or sample the calibration text
  kCalibrate,  // run the source over it, layer statistics
  kChoose,     // cache ratios tried and compared
  kRotate,     // RoRoPE and FreqFold, with the search for freqfold
  kCompress,   // low rank of [k_nope; v]
  kRecover,    // training of the converted attention
  kWrite,      // checkpoint, config, tokenizer
  kEvaluate,   // source against result
};
absl::string_view ConversionStageName(ConversionStage stage);  // "load", "text", …

struct ConversionProgress {
  ConversionStage stage = ConversionStage::kLoad;
  int layer = 0;  // layers of this stage done, 0 … layers; stages without layers have layers 0
  int layers = 0;
  double ratio = 0;  // of the whole conversion, 0 to 1, never falling
  absl::Duration time_left = absl::InfiniteDuration();  // estimate; infinite while unknown
};

// What a conversion needs from outside.
struct ConversionContext {
  // Makes a backend to run a model on; called for the source and for the result.
  std::function<absl::StatusOr<std::unique_ptr<Backend>>()> make_backend;
  // Called often, on the converting thread. May be empty.
  std::function<void(const ConversionProgress&)> on_progress;
  // Asked at least once a layer and a calibration sequence; true ends the conversion with
  // Cancelled. May be empty.
  std::function<bool()> is_cancelled;
  // Asked when it was cancelled; true leaves what it has computed on disk, as a kill would, for the
  // next conversion of the same job. May be empty: a cancelled conversion leaves nothing.
  std::function<bool()> keeps_work;
  Clock* clock = SystemClock();
  // What is written goes through here, and text files are read through it.
  FileSystem* files = PosixFileSystem();
};

// Blocks until done. Errors: InvalidArgument (options, model), AlreadyExists (destination),
// NotFound (source), Cancelled, ResourceExhausted (disk full), DataLoss (weights that are not
// finite).
absl::StatusOr<ConversionReport> Convert(const ConvertOptions& options,
                                         const ConversionContext& context);

// What a conversion would do, without running it: shapes and cache bytes of the report, nothing
// measured.
absl::StatusOr<ConversionReport> PlanConversion(const ConvertOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_PIPELINE_H_
