// The metadata of a converted model's GGUF file (docs/checkpoint_format.md, "GGUF").
#ifndef TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_
#define TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_

#include <vector>

#include "engine/format/gguf.h"
#include "engine/format/gguf_reader.h"
#include "engine/model/model_spec.h"

namespace transmla {

// What `source`, a model of the features `spec`, says, under our architecture's name, with what the
// conversion changes replaced. `scale` multiplies scores before softmax. Strings and arrays belong
// to `source`.
std::vector<GgufEntry> LatentGgufMetadata(const GgufReader& source, const ModelSpec& spec,
                                          const MlaSpec& mla, double scale);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_
