// CpuBackend: owns threads and workspace, and forwards each operation to its file. Computes in F32
// whatever the weights' type, but for the integer products of CpuOptions::quantised_activations.
// See kernels.h, panel_dot_inl.h and block_attention.h for the order of sums.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_CPU_BACKEND_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_CPU_BACKEND_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "engine/backend/backend.h"
#include "engine/backend/cpu/arena.h"
#include "engine/backend/cpu/context.h"
#include "engine/backend/cpu/cpu_kv_store.h"
#include "engine/backend/cpu/create.h"
#include "engine/backend/cpu/huge_pages.h"
#include "engine/backend/cpu/kernel_choice.h"
#include "engine/backend/cpu/panel_memory.h"
#include "engine/backend/cpu/rope_cache_write.h"

namespace transmla::cpu {

class CpuBackend final : public Backend {
 public:
  // With the kernels of `set`, whatever options.instruction_set says. REQUIRES: the machine has
  // them.
  static absl::StatusOr<std::unique_ptr<Backend>> Create(const CpuOptions& options,
                                                         const InstructionSet* set);
  DeviceInfo info() const override;

 private:
  CpuBackend() = default;

  absl::StatusOr<WeightPtr> DoPack(const WeightSource& source) override;
  absl::StatusOr<std::unique_ptr<KvStore>> DoCreateKvStore(const KvLayout& layout,
                                                           int pages) override;
  absl::StatusOr<std::unique_ptr<DeviceTensor>> DoNewTensor(const Shape& shape) override;
  absl::Status DoPrepare(const StepLimits& limits) override;
  absl::Status DoBegin(const RaggedBatch& batch) override;
  absl::Status DoEmbedding(const EmbeddingArgs& args) override;
  absl::Status DoNorm(const NormArgs& args) override;
  absl::Status DoLinear(const LinearArgs& args) override;
  absl::Status DoLinearGroup(absl::Span<const LinearArgs> group) override;
  absl::Status DoPerHeadLinear(const PerHeadLinearArgs& args) override;
  absl::Status DoGqaCacheWrite(const GqaCacheWriteArgs& args) override;
  absl::Status DoMlaCacheWrite(const MlaCacheWriteArgs& args) override;
  absl::Status DoGqaAttention(const GqaAttentionArgs& args) override;
  absl::Status DoMlaAttention(const MlaAttentionArgs& args) override;
  absl::Status DoMlaExpandedAttention(const MlaExpandedAttentionArgs& args) override;
  absl::Status DoGatedActivation(const GatedActivationArgs& args) override;
  absl::Status DoGatedLinear(const GatedLinearArgs& args) override;
  absl::Status DoRoute(const RouteArgs& args) override;
  absl::Status DoGatherRows(const GatherRowsArgs& args) override;
  absl::Status DoCombineRows(const CombineRowsArgs& args) override;
  absl::StatusOr<absl::Span<const float>> DoFinish(const LogitsArgs& args) override;
  absl::Status DoRead(const TensorView& tensor, absl::Span<float> out) override;
  absl::Status DoWrite(absl::Span<const float> values, const MutableTensorView& tensor) override;
  absl::Status DoCopyPages(KvStore* store,
                           absl::Span<const std::pair<PageId, PageId>> copies) override;

  // Grows the buffers of Finish to the limits and the largest weight seen so far.
  absl::Status ReserveLogits(const StepLimits& limits);

  CpuContext context_;
  PanelMemory panel_memory_;
  std::optional<PanelDotChoice> panel_dots_;  // has a value once created
  HugePageMover huge_page_mover_;
  RopeTable rope_;
  std::unique_ptr<CpuKvStore> section_;  // of MlaExpandedAttention; null until there was one
  int64_t most_rows_ = 0;                // of a matrix packed so far
  int64_t most_cols_ = 0;
  Arena normed_;  // [max_logit_tokens, hidden_size]
  Arena logits_;  // [max_logit_tokens, vocab_size]
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_CPU_BACKEND_H_
