// Refit: the output projections of a converted model, fitted again to what the source's attention
// gives, in closed form (docs/conversion.md, section 11).
//
// Source and result run side by side over text, one layer after the other, the result behind its
// layers that are refitted already: each projection makes up for what is lost before it.
#ifndef TRANSMLA_ENGINE_CONVERT_OUTPUT_REFIT_H_
#define TRANSMLA_ENGINE_CONVERT_OUTPUT_REFIT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "engine/convert/calibrate.h"
#include "engine/convert/layer_streams.h"
#include "engine/convert/source_weights.h"
#include "engine/convert/work_folder.h"
#include "engine/linalg/matrix.h"

namespace transmla {

// A converted model whose output projections can be replaced.
struct RefittedModel {
  // Its layers have what `keep` was given last, if anything.
  LayeredModel model;
  // What the recipe adds behind the source's own projection, [hidden_size]; empty: nothing, and
  // nothing may be added.
  std::function<absl::StatusOr<std::vector<double>>(int layer)> bias;
  // Replaces a layer's projection, [D, H·Dv], and that bias.
  std::function<absl::Status(int layer, const Matrix& output, const std::vector<double>& bias)>
      keep;
  // Whether the model still has what `keep` was given for the layer.
  std::function<bool(int layer)> has;
};

// Refits every layer of `result`, a conversion of `source`, whose weights are `weights`. Files in
// `work` begin with `name`; goes on behind the last layer that they know as done. `progress` is
// called with layers and parts of one done.
using RefitProgress = std::function<absl::Status(int layer, int done, int total)>;
absl::Status RefitOutputs(WorkFolder& work, const std::string& name, const LayeredModel& source,
                          const SourceWeights& weights, const RefittedModel& result,
                          TokenSequences text, const RefitProgress& progress);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_OUTPUT_REFIT_H_
