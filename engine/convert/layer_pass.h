// LayerPass: one run of a model over whole sequences, layer by layer (layer_streams.h), that goes
// on where an earlier one was killed.
#ifndef TRANSMLA_ENGINE_CONVERT_LAYER_PASS_H_
#define TRANSMLA_ENGINE_CONVERT_LAYER_PASS_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/base/mapped_file.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/layer_statistics.h"
#include "engine/convert/layer_streams.h"
#include "engine/convert/work_folder.h"

namespace transmla {

class LayerPass {
 public:
  // Called after each step of a layer.
  using Progress = std::function<absl::Status(int layer, int done, int total)>;

  // Files of the pass in `work` begin with `name`. `sequences` must outlive it.
  LayerPass(WorkFolder& work, const std::string& name, LayeredModel model, TokenSequences sequences,
            Progress progress)
      : work_(work),
        name_(name),
        streams_(work, name, std::move(model), sequences),
        progress_(std::move(progress)) {}

  // Runs every layer for `statistics`, and keeps its records; goes on behind the last layer that
  // the work folder has a record of. Returns how many layers were done already.
  absl::StatusOr<int> Observe(LayerStatistics& statistics);
  // What Observe kept of a layer.
  absl::StatusOr<std::string> Record(int layer) const;

  // The residual streams behind the last layer, float [tokens of all sequences, hidden_size]; the
  // file is removed with the next pass of this name or the work folder.
  absl::StatusOr<std::shared_ptr<const MappedFile>> Run();

 private:
  int num_layers() const { return streams_.model().spec->num_layers; }
  LayerStreams::Progress ProgressOf(int layer) const {
    return [this, layer](int done, int total) { return progress_(layer, done, total); };
  }

  WorkFolder& work_;
  const std::string name_;
  LayerStreams streams_;
  const Progress progress_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LAYER_PASS_H_
