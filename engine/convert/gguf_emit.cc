#include "engine/convert/gguf_emit.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/encode.h"
#include "engine/convert/gguf_attention.h"
#include "engine/convert/gguf_metadata.h"
#include "engine/convert/llama_cpp.h"
#include "engine/format/gguf_reader.h"
#include "engine/format/gguf_writer.h"
#include "engine/tokenizer/gguf_export.h"

namespace transmla {
namespace {

// Elements looked at a time, as floats.
constexpr int64_t kFloatsAtOnce = 1 << 20;

// A tensor of the result that the source has: parts of its tensors, one below the other.
struct PassedTensor {
  TensorInfo info;
  std::vector<KeptTensor> parts;
};

// The type of what is passed on: the source's, but for sums, which have more digits, and vectors
// for llama.cpp, which wants them so.
DType PassedDType(const KeptTensor& kept, const TensorView& view, OutputFormat format) {
  const bool wide = format == OutputFormat::kGgufDeepseek2 && view.shape.rank() == 1;
  return wide ? DType::kF32 : KeptDType(kept, view.dtype);
}

// `kept` below the matrices that `passed` has. InvalidArgument if it is of another type or shape.
absl::Status AddPart(const CheckpointReader& source, const KeptTensor& kept, const TensorView& view,
                     PassedTensor& passed) {
  const Shape stack = passed.info.shape;
  const Shape first({stack[1], stack[2]});
  if (view.shape != first || view.dtype != passed.info.dtype) {
    return absl::InvalidArgumentError(
        absl::StrCat(source.path(), ": tensor ", kept.source_name, " is ", DTypeName(view.dtype),
                     " ", view.shape.ToString(), ", but ", passed.parts[0].source_name, " is ",
                     DTypeName(passed.info.dtype), " ", first.ToString(),
                     "; GGUF has the experts of a layer in one tensor, so they must be alike"));
  }
  passed.info.shape = Shape({stack[0] + 1, stack[1], stack[2]});
  passed.parts.push_back(kept);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PassedTensor>> PassedTensors(const SourceWeights& weights,
                                                        const EmitOptions& options) {
  const CheckpointReader& source = weights.checkpoint();
  std::vector<PassedTensor> tensors;
  for (const KeptTensor& kept : PassedOn(weights, options)) {
    ASSIGN_OR_RETURN(const TensorView view, SourceView(source, kept));
    if (!tensors.empty() && tensors.back().info.name == kept.gguf_name) {
      RETURN_IF_ERROR(AddPart(source, kept, view, tensors.back()));
    } else {
      const Shape shape =
          kept.gguf_stacked ? Shape({1, view.shape.rows(), view.shape.cols()}) : view.shape;
      tensors.push_back({{kept.gguf_name, PassedDType(kept, view, options.format), shape}, {kept}});
    }
  }
  return tensors;
}

absl::Status CopyPart(const CheckpointReader& source, const KeptTensor& kept,
                      const TensorInfo& info, GgufWriter& writer) {
  ASSIGN_OR_RETURN(const TensorView view, SourceView(source, kept));
  const int64_t cols = view.shape.cols(), rows = view.shape.rows();
  const int64_t row_bytes = RowBytes(view.dtype, cols);
  const int64_t rows_at_once = std::max<int64_t>(1, kFloatsAtOnce / cols);
  for (int64_t begin = 0; begin < rows; begin += rows_at_once) {
    const TensorView part{view.as<char>() + begin * row_bytes, view.dtype,
                          Shape({std::min(rows_at_once, rows - begin), cols})};
    absl::StatusOr<std::vector<float>> values = DecodeFinite(part, kept.source_name);
    if (!values.ok()) return Annotate(values.status(), source.path());
    if (info.dtype == view.dtype && kept.offset == 0) {
      RETURN_IF_ERROR(writer.Append(info.name, part));
      continue;
    }
    for (float& value : *values) value += kept.offset;
    RETURN_IF_ERROR(CheckFinite(info.name, info.dtype, *values));
    RETURN_IF_ERROR(writer.AppendFloats(info.name, *values));
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

}  // namespace

absl::Status CheckGgufSource(const CheckpointReader& source) {
  if (source.format() == CheckpointFormat::kGguf) return absl::OkStatus();
  return GgufTokenizer::FromFolder(source).status();
}

absl::Status WriteLatentGguf(FileSystem& files, const std::string& folder,
                             const SourceWeights& weights, const EmitSource& source,
                             const EmitOptions& options) {
  const ModelSpec& spec = weights.spec();
  ASSIGN_OR_RETURN(const std::vector<PassedTensor> passed, PassedTensors(weights, options));
  std::vector<std::vector<TensorInfo>> layers(spec.num_layers);
  std::vector<TensorInfo> infos;
  for (const PassedTensor& tensor : passed) infos.push_back(tensor.info);
  const GgufTypes types = ResolveGgufTypes(options.dtype, options.format);
  const float norm_weight = types.harmless_norms ? HarmlessNormWeight(spec.norm_eps) : 0;
  for (int layer = 0; layer < spec.num_layers; ++layer) {
    layers[layer] =
        GgufLatentInfos(layer, spec, options.mla, options.biases, options.own_output, types);
    infos.insert(infos.end(), layers[layer].begin(), layers[layer].end());
  }
  LatentGgufMetadata metadata(spec, options);
  std::unique_ptr<const GgufTokenizer> tokenizer;
  if (const auto* gguf = dynamic_cast<const GgufReader*>(&weights.checkpoint())) {
    metadata.AddThoseOf(*gguf);
  } else {
    // llama.cpp wants a token for each row of the embedding.
    ASSIGN_OR_RETURN(tokenizer,
                     GgufTokenizer::FromFolder(weights.checkpoint(),
                                               types.harmless_norms ? spec.vocab_size : 0));
    metadata.AddThoseOf(weights.checkpoint().config(), *tokenizer);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<GgufWriter> writer,
                   GgufWriter::Create(files, JoinPath(folder, "model.gguf"), metadata.entries(),
                                      std::move(infos)));
  for (const PassedTensor& tensor : passed) {
    for (const KeptTensor& part : tensor.parts) {
      RETURN_IF_ERROR(CopyPart(weights.checkpoint(), part, tensor.info, *writer));
    }
    weights.checkpoint().ReleasePages();
  }
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
