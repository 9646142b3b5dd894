// THE SEAM: Backend runs the operations of a decoder on one device.
//
// Calls are ordered: each sees the effects of those before it. They may return before the device is
// done; Finish(), Read() and Route() wait. Arguments are checked here, in one place for all
// backends (checks.h): a wrong shape or range is InvalidArgument and nothing has run. After
// Internal or Unavailable the backend is dead: every later call returns the first error.
// Thread-compatible: one caller at a time.
//
// Batch invariance: what an operation computes for a token depends on that token's sequence alone,
// bit for bit; the order of every sum is fixed by shapes, never by what else is in the batch or by
// the number of threads.
//
// A step is Begin, operations, Finish. No operation allocates: NewTensor and Prepare do, once a
// model.
#ifndef TRANSMLA_ENGINE_BACKEND_BACKEND_H_
#define TRANSMLA_ENGINE_BACKEND_BACKEND_H_

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

#include "engine/backend/device.h"
#include "engine/backend/kv_store.h"
#include "engine/backend/op_args.h"
#include "engine/backend/packed_weight.h"
#include "engine/backend/ragged_batch.h"

namespace transmla {

// Owns an activation tensor in a backend's memory; must not outlive the backend.
class DeviceTensor {
 public:
  virtual ~DeviceTensor() = default;
  // The first `rows` rows: [rows, …]. REQUIRES: rows <= the first dimension it was made with.
  virtual MutableTensorView Rows(int64_t rows) = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual DeviceInfo info() const = 0;

  // --- once a model ---

  // Takes a weight. InvalidArgument for a type or shape that this backend cannot use, naming it.
  absl::StatusOr<WeightPtr> Pack(const WeightSource& source);
  // ResourceExhausted, naming both sizes, if the device's memory does not hold it.
  absl::StatusOr<std::unique_ptr<KvStore>> CreateKvStore(const KvLayout& layout, int pages);
  // An activation tensor of the backend's activation type; `shape` is its largest size.
  absl::StatusOr<std::unique_ptr<DeviceTensor>> NewTensor(const Shape& shape);
  // Sizes all workspace. A step beyond the limits is InvalidArgument.
  absl::Status Prepare(const StepLimits& limits);

  // --- once a step ---

  // Takes over the step's ids, positions and page tables. Must fit the limits; the batch is checked
  // in full here.
  absl::Status Begin(const RaggedBatch& batch);
  absl::Status Embedding(const EmbeddingArgs& args);
  absl::Status Norm(const NormArgs& args);
  absl::Status Linear(const LinearArgs& args);
  // Products of the same `in`, with the results of Linear for each; a backend may run them as one.
  // No `out` may overlap another. REQUIRES: at least one.
  absl::Status LinearGroup(absl::Span<const LinearArgs> group);
  absl::Status PerHeadLinear(const PerHeadLinearArgs& args);
  absl::Status GqaCacheWrite(const GqaCacheWriteArgs& args);
  absl::Status MlaCacheWrite(const MlaCacheWriteArgs& args);
  absl::Status GqaAttention(const GqaAttentionArgs& args);
  absl::Status MlaAttention(const MlaAttentionArgs& args);
  absl::Status MlaExpandedAttention(const MlaExpandedAttentionArgs& args);
  absl::Status GatedActivation(const GatedActivationArgs& args);
  // With the results of LinearGroup and GatedActivation; a backend may run them as one.
  absl::Status GatedLinear(const GatedLinearArgs& args);
  absl::Status Route(const RouteArgs& args);
  absl::Status GatherRows(const GatherRowsArgs& args);
  absl::Status CombineRows(const CombineRowsArgs& args);
  // Ends the step: [logit_tokens, vocab_size] in host memory, valid until the next Begin. Empty
  // without logit tokens.
  absl::StatusOr<absl::Span<const float>> Finish(const LogitsArgs& args);

  // --- besides ---

  // The current step, as Begin took it.
  const RaggedBatch& batch() const { return batch_; }

  // Copies an activation tensor to the host as float; waits. For calibration and tests.
  // REQUIRES: out.size() is the tensor's number of elements.
  absl::Status Read(const TensorView& tensor, absl::Span<float> out);
  // Copies host floats into an activation tensor.
  absl::Status Write(absl::Span<const float> values, const MutableTensorView& tensor);
  // Copies whole pages, all layers: (from, to) pairs, for copy-on-write of a shared page.
  absl::Status CopyPages(KvStore* store, absl::Span<const std::pair<PageId, PageId>> copies);

 protected:
  // LinearGroup, then GatedActivation, unless the backend knows better.
  virtual absl::Status DoGatedLinear(const GatedLinearArgs& args);

  // As checked by Prepare.
  const StepLimits& limits() const { return limits_; }

 private:
  virtual absl::StatusOr<WeightPtr> DoPack(const WeightSource& source) = 0;
  virtual absl::StatusOr<std::unique_ptr<KvStore>> DoCreateKvStore(const KvLayout& layout,
                                                                   int pages) = 0;
  virtual absl::StatusOr<std::unique_ptr<DeviceTensor>> DoNewTensor(const Shape& shape) = 0;
  virtual absl::Status DoPrepare(const StepLimits& limits) = 0;
  virtual absl::Status DoBegin(const RaggedBatch& batch) = 0;
  virtual absl::Status DoEmbedding(const EmbeddingArgs& args) = 0;
  virtual absl::Status DoNorm(const NormArgs& args) = 0;
  virtual absl::Status DoLinear(const LinearArgs& args) = 0;
  // One by one, unless the backend knows better.
  virtual absl::Status DoLinearGroup(absl::Span<const LinearArgs> group);
  virtual absl::Status DoPerHeadLinear(const PerHeadLinearArgs& args) = 0;
  virtual absl::Status DoGqaCacheWrite(const GqaCacheWriteArgs& args) = 0;
  virtual absl::Status DoMlaCacheWrite(const MlaCacheWriteArgs& args) = 0;
  virtual absl::Status DoGqaAttention(const GqaAttentionArgs& args) = 0;
  virtual absl::Status DoMlaAttention(const MlaAttentionArgs& args) = 0;
  virtual absl::Status DoMlaExpandedAttention(const MlaExpandedAttentionArgs& args) = 0;
  virtual absl::Status DoGatedActivation(const GatedActivationArgs& args) = 0;
  virtual absl::Status DoRoute(const RouteArgs& args) = 0;
  virtual absl::Status DoGatherRows(const GatherRowsArgs& args) = 0;
  virtual absl::Status DoCombineRows(const CombineRowsArgs& args) = 0;
  virtual absl::StatusOr<absl::Span<const float>> DoFinish(const LogitsArgs& args) = 0;
  virtual absl::Status DoRead(const TensorView& tensor, absl::Span<float> out) = 0;
  virtual absl::Status DoWrite(absl::Span<const float> values, const MutableTensorView& tensor) = 0;
  virtual absl::Status DoCopyPages(KvStore* store,
                                   absl::Span<const std::pair<PageId, PageId>> copies) = 0;

  // Remembers the first fatal error (Internal, Unavailable) and returns `status`.
  absl::Status Remember(absl::Status status);

  RaggedBatch batch_;
  StepLimits limits_;
  DType activation_ = DType::kF32;  // info().activation_dtype, kept because info() allocates
  absl::Status dead_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_BACKEND_H_
