#include "engine/convert/emit.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/encode.h"
#include "engine/format/safetensors_writer.h"
#include "engine/tensor/block_formats.h"
#include "engine/tokenizer/export.h"

namespace transmla {
namespace {

// Rows decoded at a time: an embedding of 150,000 words never is in memory as floats.
constexpr int64_t kFloatsAtOnce = 1 << 20;

std::string OutputName(int layer) {
  return absl::StrCat("model.layers.", layer, ".self_attn.o_proj.weight");
}

// Every tensor of the result in the order it is written. Frequencies, of that many layers, come
// first, then what is kept with an offset: they are F32 whatever the rest is, and so stand at
// addresses that are multiples of 4.
absl::StatusOr<std::vector<TensorInfo>> DeclareTensors(const SourceWeights& weights,
                                                       int frequencies,
                                                       const EmitOptions& options) {
  const ModelSpec& spec = weights.spec();
  std::vector<TensorInfo> infos;
  for (int layer = 0; layer < frequencies; ++layer)
    infos.push_back({FrequencyName(layer), DType::kF32, Shape({options.mla.qk_rope_head_dim / 2})});
  for (const KeptTensor& kept : PassedOn(weights, options)) {
    ASSIGN_OR_RETURN(const TensorView view, SourceView(weights.checkpoint(), kept));
    infos.push_back({kept.name, KeptDType(kept, options.dtype), view.shape});
  }
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    for (TensorInfo& info :
         LatentTensorInfos(layer, spec, options.mla, options.biases, options.dtype))
      infos.push_back(std::move(info));
    if (options.own_output)
      infos.push_back({OutputName(layer), options.dtype,
                       Shape({spec.hidden_size,
                              int64_t{options.mla.num_attention_heads} * options.mla.v_head_dim})});
  }
  return infos;
}

absl::Status WriteKept(const SourceWeights& weights, const KeptTensor& kept, DType dtype,
                       SafetensorsWriter& writer) {
  ASSIGN_OR_RETURN(const TensorView view, SourceView(weights.checkpoint(), kept));
  const int64_t cols = view.shape.cols(), rows = view.shape.rows();
  const int64_t row_bytes = RowBytes(view.dtype, cols);
  const int64_t rows_at_once = std::max<int64_t>(1, kFloatsAtOnce / std::max<int64_t>(1, cols));
  for (int64_t begin = 0; begin < rows; begin += rows_at_once) {
    const int64_t count = std::min(rows_at_once, rows - begin);
    // A vector is one row; of a matrix, whole rows.
    const Shape part = view.shape.rank() == 1 ? view.shape : Shape({count, cols});
    absl::StatusOr<std::vector<float>> values =
        DecodeFinite({view.as<char>() + begin * row_bytes, view.dtype, part}, kept.source_name);
    if (!values.ok()) return Annotate(values.status(), weights.checkpoint().path());
    for (float& value : *values) value += kept.offset;
    ASSIGN_OR_RETURN(const std::vector<char> encoded, EncodeFinite(kept.name, dtype, *values));
    RETURN_IF_ERROR(writer.Append(kept.name, {encoded.data(), dtype, part}));
  }
  return absl::OkStatus();
}

absl::Status CheckFinite(const NamedTensor& named) {
  std::vector<float> values(named.tensor.shape().cols());
  for (int64_t row = 0; row < named.tensor.shape().rows(); ++row) {
    const int64_t row_bytes = RowBytes(named.tensor.dtype(), named.tensor.shape().cols());
    DequantizeRow(named.tensor.dtype(), named.tensor.as<char>() + row * row_bytes,
                  absl::MakeSpan(values));
    RETURN_IF_ERROR(CheckFinite(named.name, named.tensor.dtype(), values));
  }
  return absl::OkStatus();
}

absl::Status WriteWeights(FileSystem& files, const std::string& folder,
                          const SourceWeights& weights, const EmitSource& source,
                          const EmitOptions& options) {
  const int frequencies = static_cast<int>(source.inv_freq.size());
  ASSIGN_OR_RETURN(std::vector<TensorInfo> infos, DeclareTensors(weights, frequencies, options));
  ASSIGN_OR_RETURN(const std::unique_ptr<SafetensorsWriter> writer,
                   SafetensorsWriter::Create(files, folder, std::move(infos),
                                             {.max_shard_bytes = options.max_shard_bytes}));
  const int layers = weights.spec().num_layers;
  for (int layer = 0; layer < frequencies; ++layer)
    RETURN_IF_ERROR(writer->AppendFloats(FrequencyName(layer), source.inv_freq[layer]));
  for (const KeptTensor& kept : PassedOn(weights, options)) {
    RETURN_IF_ERROR(WriteKept(weights, kept, KeptDType(kept, options.dtype), *writer));
    weights.checkpoint().ReleasePages();
  }
  for (int layer = 0; layer < layers; ++layer) {
    ASSIGN_OR_RETURN(const LatentWeights latent, source.layer(layer));
    for (const NamedTensor& named : LatentTensors(layer, latent, options.dtype)) {
      if (named.name == FrequencyName(layer)) continue;
      RETURN_IF_ERROR(CheckFinite(named));
      RETURN_IF_ERROR(writer->Append(named.name, named.tensor.view()));
    }
    if (source.progress) RETURN_IF_ERROR(source.progress(layer + 1));
  }
  return writer->Finish();
}

}  // namespace

std::vector<KeptTensor> PassedOn(const SourceWeights& weights, const EmitOptions& options) {
  std::vector<KeptTensor> kept(weights.kept().begin(), weights.kept().end());
  if (!options.own_output) return kept;
  absl::flat_hash_set<std::string> replaced;
  for (int layer = 0; layer < weights.spec().num_layers; ++layer)
    replaced.insert(OutputName(layer));
  kept.erase(
      std::remove_if(kept.begin(), kept.end(),
                     [&](const KeptTensor& tensor) { return replaced.contains(tensor.name); }),
      kept.end());
  return kept;
}

absl::Status WriteLatentModel(FileSystem& files, const std::string& folder,
                              const SourceWeights& weights, const EmitSource& source,
                              const EmitOptions& options) {
  CHECK(source.inv_freq.empty() ||
        static_cast<int>(source.inv_freq.size()) == weights.spec().num_layers);
  RETURN_IF_ERROR(WriteWeights(files, folder, weights, source, options));
  RETURN_IF_ERROR(WriteFileAtomically(files, JoinPath(folder, "config.json"),
                                      ConfigJson(options.config, options.dtype)));
  return WriteTokenizerFiles(weights.checkpoint(), &files, folder);
}

}  // namespace transmla
