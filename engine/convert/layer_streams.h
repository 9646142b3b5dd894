// LayerStreams: the residual streams of whole sequences on their way through a model, one layer at
// a time. Of the model, a layer's weights are in memory; the streams of all tokens lie in files of
// the work folder.
//
// It computes what a Decoder computes, bit for bit.
#ifndef TRANSMLA_ENGINE_CONVERT_LAYER_STREAMS_H_
#define TRANSMLA_ENGINE_CONVERT_LAYER_STREAMS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/backend/backend.h"
#include "engine/base/mapped_file.h"
#include "engine/convert/calibrate.h"
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

// Floats of tokens one after the other, in a file of a work folder.
class TokenFile {
 public:
  static absl::StatusOr<TokenFile> Create(WorkFolder& work, absl::string_view name);
  absl::Status Append(absl::Span<const float> values);
  // Of all that was appended.
  uint32_t checksum() const { return checksum_; }

 private:
  explicit TokenFile(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}

  std::unique_ptr<WritableFile> file_;
  uint32_t checksum_ = 0;
};

// Thread-compatible.
class LayerStreams {
 public:
  // Called after each step of a layer.
  using Progress = std::function<absl::Status(int done, int total)>;

  // Files in `work` begin with `name`. `sequences` must outlive it; their tokens lie one after the
  // other among all.
  LayerStreams(WorkFolder& work, std::string name, LayeredModel model, TokenSequences sequences)
      : work_(work), name_(std::move(name)), model_(std::move(model)), sequences_(sequences) {}

  const LayeredModel& model() const { return model_; }

  // Makes the streams before the first layer.
  absl::Status Embed();
  // Makes those behind `layer` from those before it; both are there afterwards. Returns the new
  // ones' checksum.
  absl::StatusOr<uint32_t> Run(int layer, DecoderObserver* observer, const Progress& progress);
  // Runs the attention block of `layer` for `observer` alone.
  absl::Status Attend(int layer, DecoderObserver& observer, const Progress& progress);

  // The streams before `layer`, float [tokens of all sequences, hidden_size].
  absl::StatusOr<std::shared_ptr<const MappedFile>> Before(int layer) const;
  // Whether they are there and have that checksum.
  bool IsWhole(int layer, int64_t checksum) const;
  absl::Status Remove(int layer);

 private:
  // Runs one step, given its residual streams, which it may change.
  using RunStep = std::function<absl::Status(LayerDecoder& decoder, const RaggedBatch& batch,
                                             KvStore* store, absl::Span<float> hidden)>;

  std::string NameOf(int layer) const;
  absl::Status ForEachStep(int layer, const RunStep& run, const Progress& progress);

  WorkFolder& work_;
  const std::string name_;
  const LayeredModel model_;
  const TokenSequences sequences_;
};

// The record of a pass about a layer.
std::string LayerRecordName(absl::string_view pass, int layer);

// Layers of `pass` that are done and whose successor can go on; 0 if in doubt. Each record begins
// with the checksums of the streams behind its layer, in this order.
int FinishedLayers(const WorkFolder& work, absl::string_view pass, int num_layers,
                   absl::Span<const LayerStreams* const> streams);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LAYER_STREAMS_H_
