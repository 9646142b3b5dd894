// The converted model as names, shapes, tensors and config: what emit.h writes and what runs in
// memory between stages.
#ifndef TRANSMLA_ENGINE_CONVERT_LATENT_CHECKPOINT_H_
#define TRANSMLA_ENGINE_CONVERT_LATENT_CHECKPOINT_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/convert/attention_weights.h"
#include "engine/convert/source_weights.h"
#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"
#include "engine/tensor/host_tensor.h"

namespace transmla {

struct NamedTensor {
  std::string name;
  HostTensor tensor;
};

// Which biases LatentWeights have, in every layer alike. With MlaSpec::latent_norm, queries have a
// latent with a bias as well.
struct LatentBiases {
  bool query = false;   // q_bias
  bool latent = false;  // kv_a_bias
  bool output = false;  // o_bias; the source's own, if it has one, is passed on with its projection
};

// Of the tensor of a layer's inverse frequencies.
std::string FrequencyName(int layer);

// The tensors of docs/checkpoint_format.md for layer `layer`; o_proj only if the weights have one,
// or else the source passes its own on. `dtype` is F32, F16 or BF16; inverse frequencies are always
// F32.
std::vector<NamedTensor> LatentTensors(int layer, const LatentWeights& weights, DType dtype);

// Names, types and shapes of what LatentTensors gives, but the inverse frequencies.
std::vector<TensorInfo> LatentTensorInfos(int layer, const ModelSpec& source, const MlaSpec& mla,
                                          const LatentBiases& biases, DType dtype);

// The result's hyper-parameters. `attention_scale` multiplies scores before softmax.
Config LatentConfig(const SourceWeights& source, const MlaSpec& mla, const LatentBiases& biases,
                    double attention_scale);

// config.json of docs/checkpoint_format.md.
std::string ConfigJson(const Config& config, DType dtype);

// A converted model in memory, to run before it is written: attention and shifted norms as float32,
// all else mapped from the source. Thread-safe once every layer is added.
class LatentCheckpoint : public CheckpointReader {
 public:
  LatentCheckpoint(const SourceWeights& source, Config config);
  // Layers may come in any order, each once.
  void AddLayer(int layer, const LatentWeights& weights);
  // Inverse frequencies of all layers, [layers][qk_rope_head_dim / 2], where the layers themselves
  // are not all added or come without: they are features of the model.
  void AddFrequencies(const std::vector<std::vector<float>>& inv_freq);

  const std::string& path() const override { return path_; }
  CheckpointFormat format() const override { return CheckpointFormat::kSafetensors; }
  const Config& config() const override { return config_; }
  absl::Span<const TensorInfo> tensors() const override { return infos_; }
  absl::StatusOr<TensorView> Tensor(absl::string_view name) const override;
  void ReleasePages() const override { source_->ReleasePages(); }

 private:
  // Instead of the source's tensor of that name, if there is one.
  void Own(NamedTensor named);
  // A vector with its offset added.
  void AddShifted(const KeptTensor& kept, const TensorView& stored);

  std::string path_;
  Config config_;
  std::shared_ptr<const CheckpointReader> source_;
  std::vector<TensorInfo> infos_;
  std::vector<std::pair<std::string, TensorView>> views_;  // as infos_
  std::vector<HostTensor> owned_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LATENT_CHECKPOINT_H_
