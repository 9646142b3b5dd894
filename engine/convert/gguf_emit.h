// Writes a converted model as one GGUF file (docs/checkpoint_format.md, "GGUF").
//
// Everything outside attention is the source's own bytes, whatever type they are of, under
// llama.cpp's names. Attention is made and written one layer at a time: memory stays that of one
// layer.
#ifndef TRANSMLA_ENGINE_CONVERT_GGUF_EMIT_H_
#define TRANSMLA_ENGINE_CONVERT_GGUF_EMIT_H_

#include <string>

#include "absl/status/status.h"

#include "engine/base/file.h"
#include "engine/convert/emit.h"
#include "engine/convert/source_weights.h"
#include "engine/format/checkpoint.h"
#include "engine/model/model_spec.h"

namespace transmla {

// Unimplemented, naming the reason, if the source is no GGUF file and GGUF cannot say what its
// tokenizer does; errors of GgufTokenizer (engine/tokenizer/gguf_export.h).
absl::Status CheckGgufSource(const CheckpointReader& source);

// The file is `folder`/model.gguf; `folder` exists and has none. `options.dtype` is F32, F16, BF16
// or Q8_0, of attention's new matrices. Errors as WriteLatentModel, and those of CheckGgufSource.
absl::Status WriteLatentGguf(FileSystem& files, const std::string& folder,
                             const SourceWeights& weights, const EmitSource& source,
                             const EmitOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_GGUF_EMIT_H_
