#include "engine/backend/backend.h"

#include "engine/backend/checks.h"
#include "engine/base/checked_math.h"
#include "engine/base/status.h"

namespace transmla {

absl::Status Backend::Remember(absl::Status status) {
  const bool fatal = absl::IsInternal(status) || absl::IsUnavailable(status);
  if (fatal && dead_.ok()) dead_ = status;
  return status;
}

absl::StatusOr<WeightPtr> Backend::Pack(const WeightSource& source) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckWeight(source));
  absl::StatusOr<WeightPtr> weight = DoPack(source);
  RETURN_IF_ERROR(Remember(weight.status()));
  return weight;
}

absl::StatusOr<std::unique_ptr<KvStore>> Backend::CreateKvStore(const KvLayout& layout, int pages) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckKvLayout(layout, pages));
  absl::StatusOr<std::unique_ptr<KvStore>> store = DoCreateKvStore(layout, pages);
  RETURN_IF_ERROR(Remember(store.status()));
  return store;
}

absl::StatusOr<std::unique_ptr<DeviceTensor>> Backend::NewTensor(const Shape& shape) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckTensorShape(shape));
  absl::StatusOr<std::unique_ptr<DeviceTensor>> tensor = DoNewTensor(shape);
  RETURN_IF_ERROR(Remember(tensor.status()));
  return tensor;
}

absl::Status Backend::Prepare(const StepLimits& limits) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckLimits(limits));
  RETURN_IF_ERROR(Remember(DoPrepare(limits)));
  limits_ = limits;
  activation_ = info().activation_dtype;
  // Begin copies into these without allocating.
  const size_t pages = CeilDiv(limits.max_context_tokens, kPageTokens);
  batch_.token_ids.reserve(limits.max_tokens);
  batch_.positions.reserve(limits.max_tokens);
  batch_.sequence_starts.reserve(limits.max_sequences + 1);
  batch_.pages.reserve(pages * limits.max_sequences);
  batch_.page_starts.reserve(limits.max_sequences + 1);
  batch_.logit_tokens.reserve(limits.max_logit_tokens);
  batch_.expanded.reserve(limits.max_sequences);
  return absl::OkStatus();
}

absl::Status Backend::Begin(const RaggedBatch& batch) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckBatch(batch, limits_));
  batch_ = batch;
  return Remember(DoBegin(batch_));
}

absl::Status Backend::Embedding(const EmbeddingArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckEmbedding(args, {batch_, activation_}));
  return Remember(DoEmbedding(args));
}

absl::Status Backend::Norm(const NormArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckNorm(args, {batch_, activation_}));
  return Remember(DoNorm(args));
}

absl::Status Backend::Linear(const LinearArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckLinear(args, {batch_, activation_}));
  return Remember(DoLinear(args));
}

absl::Status Backend::LinearGroup(absl::Span<const LinearArgs> group) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckLinearGroup(group, {batch_, activation_}));
  return Remember(DoLinearGroup(group));
}

absl::Status Backend::DoLinearGroup(absl::Span<const LinearArgs> group) {
  for (const LinearArgs& args : group) RETURN_IF_ERROR(DoLinear(args));
  return absl::OkStatus();
}

absl::Status Backend::PerHeadLinear(const PerHeadLinearArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckPerHeadLinear(args, {batch_, activation_}));
  return Remember(DoPerHeadLinear(args));
}

absl::Status Backend::GqaCacheWrite(const GqaCacheWriteArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckGqaCacheWrite(args, {batch_, activation_}));
  return Remember(DoGqaCacheWrite(args));
}

absl::Status Backend::MlaCacheWrite(const MlaCacheWriteArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckMlaCacheWrite(args, {batch_, activation_}));
  return Remember(DoMlaCacheWrite(args));
}

absl::Status Backend::GqaAttention(const GqaAttentionArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckGqaAttention(args, {batch_, activation_}));
  return Remember(DoGqaAttention(args));
}

absl::Status Backend::MlaAttention(const MlaAttentionArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckMlaAttention(args, {batch_, activation_}));
  return Remember(DoMlaAttention(args));
}

absl::Status Backend::MlaExpandedAttention(const MlaExpandedAttentionArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckMlaExpandedAttention(args, {batch_, activation_}));
  return Remember(DoMlaExpandedAttention(args));
}

absl::Status Backend::GatedActivation(const GatedActivationArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckGatedActivation(args, {batch_, activation_}));
  return Remember(DoGatedActivation(args));
}

absl::Status Backend::GatedLinear(const GatedLinearArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckGatedLinear(args, {batch_, activation_}));
  return Remember(DoGatedLinear(args));
}

absl::Status Backend::DoGatedLinear(const GatedLinearArgs& args) {
  RETURN_IF_ERROR(DoLinearGroup({{{.in = args.in, .weight = args.gate, .out = args.out},
                                  {.in = args.in, .weight = args.up, .out = args.up_out}}}));
  return DoGatedActivation(
      {.gate = args.out, .up = args.up_out, .activation = args.activation, .out = args.out});
}

absl::Status Backend::Route(const RouteArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckRoute(args, {batch_, activation_}));
  return Remember(DoRoute(args));
}

absl::Status Backend::GatherRows(const GatherRowsArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckGatherRows(args, {batch_, activation_}));
  return Remember(DoGatherRows(args));
}

absl::Status Backend::CombineRows(const CombineRowsArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckCombineRows(args, {batch_, activation_}));
  return Remember(DoCombineRows(args));
}

absl::StatusOr<absl::Span<const float>> Backend::Finish(const LogitsArgs& args) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckLogits(args, {batch_, activation_}));
  absl::StatusOr<absl::Span<const float>> logits = DoFinish(args);
  RETURN_IF_ERROR(Remember(logits.status()));
  return logits;
}

absl::Status Backend::Read(const TensorView& tensor, absl::Span<float> out) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckTransfer(tensor, static_cast<int64_t>(out.size())));
  return Remember(DoRead(tensor, out));
}

absl::Status Backend::Write(absl::Span<const float> values, const MutableTensorView& tensor) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckTransfer(tensor, static_cast<int64_t>(values.size())));
  return Remember(DoWrite(values, tensor));
}

absl::Status Backend::CopyPages(KvStore* store,
                                absl::Span<const std::pair<PageId, PageId>> copies) {
  RETURN_IF_ERROR(dead_);
  RETURN_IF_ERROR(CheckCopyPages(store, copies));
  return Remember(DoCopyPages(store, copies));
}

}  // namespace transmla
