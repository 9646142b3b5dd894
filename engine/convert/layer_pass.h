// LayerPass: a model run over whole sequences one layer at a time. Of the model, a layer's weights
// are in memory; the residual stream of all tokens lies in a file of the work folder.
//
// It computes what a Decoder computes, bit for bit.
#ifndef TRANSMLA_ENGINE_CONVERT_LAYER_PASS_H_
#define TRANSMLA_ENGINE_CONVERT_LAYER_PASS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "engine/backend/backend.h"
#include "engine/base/mapped_file.h"
#include "engine/convert/calibrate.h"
#include "engine/convert/layer_statistics.h"
#include "engine/convert/work_folder.h"
#include "engine/format/checkpoint.h"
#include "engine/model/decoder.h"
#include "engine/model/layer_decoder.h"
#include "engine/model/model_spec.h"

namespace transmla {

// A model that is there piece by piece. All must outlive who uses it.
struct LayeredModel {
  // The checkpoint that holds a layer; it need not hold others.
  std::function<absl::StatusOr<std::shared_ptr<const CheckpointReader>>(int layer)> layer;
  // The checkpoint that holds what belongs to no layer.
  std::shared_ptr<const CheckpointReader> ends;
  const ModelSpec* spec = nullptr;
  Backend* backend = nullptr;
};

// Of one checkpoint that holds all of it.
LayeredModel WholeModel(std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec,
                        Backend& backend);

class LayerPass {
 public:
  // Called after each step of a layer.
  using Progress = std::function<absl::Status(int layer, int done, int total)>;

  // Files of the pass in `work` begin with `name`. `sequences` must outlive it.
  LayerPass(WorkFolder& work, std::string name, LayeredModel model, TokenSequences sequences,
            Progress progress)
      : work_(work),
        name_(std::move(name)),
        model_(std::move(model)),
        sequences_(sequences),
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
  std::string RecordName(int layer) const;
  std::string StreamName(int layer) const;
  // Layers that are done and whose successor can go on; 0 if in doubt.
  int FinishedLayers() const;
  absl::Status Embed();
  // Reads the streams before `layer` and, unless `last`, writes those behind it; their checksum.
  absl::StatusOr<uint32_t> RunLayer(int layer, bool last, DecoderObserver* observer);

  WorkFolder& work_;
  const std::string name_;
  const LayeredModel model_;
  const TokenSequences sequences_;
  const Progress progress_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LAYER_PASS_H_
