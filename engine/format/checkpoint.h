// CheckpointReader: a model on disk as names, shapes and bytes, whatever the file format.
//
// A reader has validated every length, offset, count and string of the file's header before it
// exists; a tensor's bytes lie inside the mapped file. Tensor bytes are mapped read-only: they are
// valid as long as any shared_ptr to the reader lives, so that packed weights may point into the
// mapping. Thread-safe after opening.
#ifndef TRANSMLA_ENGINE_FORMAT_CHECKPOINT_H_
#define TRANSMLA_ENGINE_FORMAT_CHECKPOINT_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/format/config.h"
#include "engine/tensor/tensor_view.h"

namespace transmla {

enum class CheckpointFormat { kGguf, kSafetensors };

struct TensorInfo {
  std::string name;  // as in the file: "blk.0.attn_q.weight" (GGUF),
                     // "model.layers.0.self_attn.q_proj.weight" (Hugging Face)
  DType dtype = DType::kF32;
  Shape shape;  // row-major, outermost first: [out_features, in_features] for a projection, also
                // for GGUF
};

class CheckpointReader {
 public:
  virtual ~CheckpointReader() = default;

  // The file or folder that was opened, for messages.
  virtual const std::string& path() const = 0;
  virtual CheckpointFormat format() const = 0;
  // Hyper-parameters in Hugging Face terms, from config.json or GGUF metadata; ranges checked.
  virtual const Config& config() const = 0;
  // In the file's order.
  virtual absl::Span<const TensorInfo> tensors() const = 0;
  // NotFound, naming file and tensor, if there is none of that name.
  virtual absl::StatusOr<TensorView> Tensor(absl::string_view name) const = 0;
  // The bytes of `tensor`, or of a part of one, will hardly be read again: their memory may go.
  // They can still be read, from disk.
  virtual void DontNeed(const TensorView& /*tensor*/) const {}
  bool Has(absl::string_view name) const { return Tensor(name).ok(); }
  // Lets the pages of the mapped files go that were touched so far; they are read again when they
  // are touched. For who reads a model piece by piece.
  virtual void ReleasePages() const = 0;
};

// Opens a GGUF file, a folder with one GGUF file and no safetensors, a .safetensors file beside its
// config.json, or a Hugging Face folder (single or sharded with index). Errors name the file, the
// field, the value and the remedy; a folder without weights or config is NotFound.
absl::StatusOr<std::shared_ptr<const CheckpointReader>> OpenCheckpoint(const std::string& path);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_CHECKPOINT_H_
