// The metadata of a converted model's GGUF file (docs/checkpoint_format.md, "GGUF").
#ifndef TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_
#define TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

#include "engine/convert/emit.h"
#include "engine/format/config.h"
#include "engine/format/gguf.h"
#include "engine/format/gguf_reader.h"
#include "engine/model/model_spec.h"
#include "engine/tokenizer/gguf_export.h"

namespace transmla {

// Entries, and what they point to beyond the source.
class LatentGgufMetadata {
 public:
  // Of the converted model itself, of a source with the features `spec`: all below the
  // architecture's name.
  LatentGgufMetadata(const ModelSpec& spec, const EmitOptions& options);
  LatentGgufMetadata(const LatentGgufMetadata&) = delete;
  LatentGgufMetadata& operator=(const LatentGgufMetadata&) = delete;

  // What `source`, which outlives this, says beyond its own architecture: its name, its tokenizer.
  void AddThoseOf(const GgufReader& source);
  // The same of a Hugging Face folder. `config` and `tokenizer` outlive this.
  void AddThoseOf(const Config& config, const GgufTokenizer& tokenizer);

  const std::vector<GgufEntry>& entries() const { return entries_; }

 private:
  void Number(absl::string_view name, int64_t value);
  void Add(absl::string_view name, GgufValue value);
  void AddSizes(const Config& config);
  void AddAttention(const MlaSpec& mla);
  void AddTakenFeatures(const Config& config);
  void AddWindows(const Config& config);
  void AddExperts(const Config& config);

  const std::string architecture_;
  const std::string activation_;
  std::string windowed_;  // a byte a layer
  std::vector<GgufEntry> entries_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_GGUF_METADATA_H_
