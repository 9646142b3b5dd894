// The metadata of a converted model's GGUF file (docs/checkpoint_format.md, "GGUF").
#ifndef TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_
#define TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_

#include <vector>

#include "engine/convert/emit.h"
#include "engine/format/gguf.h"
#include "engine/format/gguf_reader.h"
#include "engine/model/model_spec.h"

namespace transmla {

// What `source`, a model of the features `spec`, says, under the name of the result's architecture,
// with what the conversion changes replaced. Strings and arrays belong to `source`.
std::vector<GgufEntry> LatentGgufMetadata(const GgufReader& source, const ModelSpec& spec,
                                          const EmitOptions& options);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_
