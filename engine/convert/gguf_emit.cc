#include "engine/convert/gguf_emit.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/beyond_deepseek.h"
#include "engine/convert/encode.h"
#include "engine/convert/gguf_attention.h"
#include "engine/convert/gguf_metadata.h"
#include "engine/convert/llama_cpp.h"
#include "engine/format/gguf_reader.h"
#include "engine/format/gguf_writer.h"

namespace transmla {
namespace {

// Elements looked at a time, as floats.
constexpr int64_t kFloatsAtOnce = 1 << 20;

// The source's tensors that the result has too, in the source's order.
std::vector<TensorInfo> KeptInfos(const SourceWeights& weights, const EmitOptions& options) {
  absl::flat_hash_set<std::string> names;
  for (const KeptTensor& kept : PassedOn(weights, options)) names.insert(kept.source_name);
  std::vector<TensorInfo> infos;
  for (const TensorInfo& info : weights.checkpoint().tensors()) {
    if (names.contains(info.name)) infos.push_back(info);
  }
  return infos;
}

absl::Status CopyTensor(const CheckpointReader& source, const TensorInfo& info,
                        GgufWriter& writer) {
  ASSIGN_OR_RETURN(const TensorView view, source.Tensor(info.name));
  const int64_t cols = view.shape.cols(), rows = view.shape.rows();
  const int64_t row_bytes = RowBytes(view.dtype, cols);
  const int64_t rows_at_once = std::max<int64_t>(1, kFloatsAtOnce / cols);
  for (int64_t begin = 0; begin < rows; begin += rows_at_once) {
    const TensorView part{view.as<char>() + begin * row_bytes, view.dtype,
                          Shape({std::min(rows_at_once, rows - begin), cols})};
    const absl::Status finite = DecodeFinite(part, info.name).status();
    if (!finite.ok()) return Annotate(finite, source.path());
    RETURN_IF_ERROR(writer.Append(info.name, part));
  }
  return absl::OkStatus();
}

// `infos` are those of the layer's tensors, in their order.
absl::Status WriteLayer(absl::Span<const TensorInfo> infos,
                        absl::Span<const GgufLatentTensor> tensors, GgufWriter& writer) {
  CHECK_EQ(infos.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const DType dtype = infos[i].dtype;
    ASSIGN_OR_RETURN(const std::vector<char> bytes,
                     EncodeFinite(tensors[i].name, dtype, tensors[i].values));
    RETURN_IF_ERROR(writer.Append(tensors[i].name, {bytes.data(), dtype, infos[i].shape}));
  }
  return absl::OkStatus();
}

// What the metadata of our GGUF files have no key for, or empty.
absl::string_view UnsaidFeature(const CheckpointReader& source, const ModelSpec& spec) {
  if (const absl::string_view feature = FeatureBeyondDeepseek(spec); !feature.empty())
    return feature;
  if (source.Has("blk.0.attn_qkv.weight")) return "fused matrices";
  return "";
}

}  // namespace

absl::Status CheckGgufSource(const CheckpointReader& source, const ModelSpec& spec) {
  if (dynamic_cast<const GgufReader*>(&source) != nullptr) {
    const absl::string_view feature = UnsaidFeature(source, spec);
    if (feature.empty()) return absl::OkStatus();
    return absl::UnimplementedError(
        absl::StrCat(source.path(), ": GGUF output of models with ", feature,
                     " is not supported yet; choose another output format"));
  }
  return absl::UnimplementedError(
      absl::StrCat(source.path(), ": GGUF output needs a GGUF source, whose tokenizer it takes; ",
                   "convert a GGUF file of the model, or choose another output format"));
}

absl::Status WriteLatentGguf(FileSystem& files, const std::string& folder,
                             const SourceWeights& weights, const EmitSource& source,
                             const EmitOptions& options) {
  RETURN_IF_ERROR(CheckGgufSource(weights.checkpoint(), weights.spec()));
  const auto& reader = dynamic_cast<const GgufReader&>(weights.checkpoint());
  const ModelSpec& spec = weights.spec();
  const std::vector<TensorInfo> kept = KeptInfos(weights, options);
  std::vector<std::vector<TensorInfo>> layers(spec.num_layers);
  std::vector<TensorInfo> infos = kept;
  const GgufTypes types = ResolveGgufTypes(options.dtype, options.format);
  const float norm_weight = types.harmless_norms ? HarmlessNormWeight(spec.norm_eps) : 0;
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    layers[layer] =
        GgufLatentInfos(layer, spec, options.mla, options.biases, options.own_output, types);
    infos.insert(infos.end(), layers[layer].begin(), layers[layer].end());
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GgufWriter> writer,
                   GgufWriter::Create(files, JoinPath(folder, "model.gguf"),
                                      LatentGgufMetadata(reader, spec, options), std::move(infos)));
  for (const TensorInfo& info : kept) RETURN_IF_ERROR(CopyTensor(reader, info, *writer));
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    ASSIGN_OR_RETURN(LatentWeights latent, source.layer(layer));
    if (types.harmless_norms) ShrinkLatents(options.mla.kv_lora_rank, latent);
    RETURN_IF_ERROR(WriteLayer(
        layers[layer], GgufLatentTensors(layer, latent, options.mla, norm_weight), *writer));
    if (source.progress) RETURN_IF_ERROR(source.progress(layer + 1));
  }
  return writer->Finish();
}

}  // namespace transmla
