#include "engine/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "engine/backend/cpu/attention.h"
#include "engine/backend/cpu/cpu_kv_store.h"
#include "engine/backend/cpu/experts.h"
#include "engine/backend/cpu/linear.h"
#include "engine/backend/cpu/mla_expanded_attention.h"
#include "engine/backend/cpu/rows.h"
#include "engine/backend/cpu/weight.h"
#include "engine/base/checked_math.h"
#include "engine/base/clock.h"
#include "engine/base/cpu_info.h"
#include "engine/base/cpu_placement.h"
#include "engine/base/status.h"
#include "engine/tensor/host_tensor.h"

namespace transmla {

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const CpuOptions& options) {
  ASSIGN_OR_RETURN(const cpu::InstructionSet* set,
                   cpu::FindInstructionSet(options.instruction_set));
  return cpu::CpuBackend::Create(options, set);
}

namespace cpu {
namespace {

// Frequencies of the widest rotation that Prepare makes room for; wider ones allocate at their
// first step.
constexpr int64_t kUsualRopePairs = 128;

class CpuTensor : public DeviceTensor {
 public:
  explicit CpuTensor(const Shape& shape) : tensor_(DType::kF32, shape) {
    std::memset(tensor_.as<std::byte>(), 0, static_cast<size_t>(tensor_.view().bytes()));
  }
  MutableTensorView Rows(int64_t rows) override {
    int64_t dims[Shape::kMaxRank];
    std::copy(tensor_.shape().dims().begin(), tensor_.shape().dims().end(), dims);
    dims[0] = rows;
    return {tensor_.as<float>(), DType::kF32,
            Shape(absl::MakeConstSpan(dims, tensor_.shape().rank()))};
  }

 private:
  HostTensor tensor_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CpuBackend::Create(const CpuOptions& options,
                                                            const InstructionSet* set) {
  if (options.threads < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads is ", options.threads, "; use 0 for all usable cores, or a number"));
  }
  auto backend = std::unique_ptr<CpuBackend>(new CpuBackend);
  CpuContext& context = backend->context_;
  context.instruction_set = set;
  context.kernels = options.quantised_activations ? set->rounding_kernels : set->kernels;
  context.panels = set->panels;
  backend->panel_dots_.emplace(*set->panels, *SystemClock());
  const int threads = options.threads == 0 ? GetCpuInfo().usable_cores : options.threads;
  for (int i = 0; i < threads; ++i) {
    ASSIGN_OR_RETURN(Arena scratch, Arena::Create(CpuContext::kScratchBytes));
    context.scratch.push_back(std::move(scratch));
  }
  ASSIGN_OR_RETURN(context.partials, Arena::Create(CpuContext::kPartialBytes));
  context.quantised_activations = options.quantised_activations;
  ASSIGN_OR_RETURN(context.tiles, Arena::Create(CpuContext::kTileBytes));
  ASSIGN_OR_RETURN(context.packed, Arena::Create(CpuContext::kPackedBytes));
  std::vector<int> cpus;
  if (options.pin_threads) cpus = PlacementOrder(UsableCpuPlaces());
  context.pool = std::make_unique<ThreadPool>(threads, std::move(cpus));
  return backend;
}

DeviceInfo CpuBackend::info() const {
  const CpuInfo& cpu = GetCpuInfo();
  return {
      .name = absl::StrCat(cpu.model_name.empty() ? "CPU" : cpu.model_name, ", ",
                           context_.pool->threads(), " threads, ", context_.instruction_set->name,
                           context_.quantised_activations ? ", 8-bit products" : ""),
      .memory_bytes = cpu.memory_bytes,
      .host_threads = context_.pool->threads(),
      .activation_dtype = DType::kF32};
}

absl::StatusOr<WeightPtr> CpuBackend::DoPack(const WeightSource& source) {
  std::optional<CpuWeight::Packing> packing;
  if (context_.quantised_activations) packing.emplace(*context_.pool, panel_memory_, *panel_dots_);
  ASSIGN_OR_RETURN(WeightPtr weight, CpuWeight::Create(source, packing));
  if (source.role != WeightRole::kVector && source.role != WeightRole::kPerHead) {
    most_rows_ = std::max(most_rows_, weight->shape()[0]);
    most_cols_ = std::max(most_cols_, weight->shape()[1]);
  }
  return weight;
}

absl::StatusOr<std::unique_ptr<KvStore>> CpuBackend::DoCreateKvStore(const KvLayout& layout,
                                                                     int pages) {
  ASSIGN_OR_RETURN(std::unique_ptr<CpuKvStore> store, CpuKvStore::Create(layout, pages));
  return store;
}

absl::StatusOr<std::unique_ptr<DeviceTensor>> CpuBackend::DoNewTensor(const Shape& shape) {
  const std::optional<int64_t> bytes = CheckedMul<int64_t>(shape.elements(), sizeof(float));
  const int64_t memory = GetCpuInfo().memory_bytes;
  if (!bytes || (memory > 0 && *bytes > memory)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the activations of a step need a tensor of shape ", shape.ToString(), " in f32, but this ",
        "machine has ", memory, " bytes of memory; lower max_step_tokens"));
  }
  return std::make_unique<CpuTensor>(shape);
}

absl::Status CpuBackend::ReserveLogits(const StepLimits& limits) {
  const int64_t logits = limits.max_logit_tokens * most_rows_ * int64_t{sizeof(float)};
  const int64_t normed = limits.max_logit_tokens * most_cols_ * int64_t{sizeof(float)};
  if (logits > logits_.size()) {
    ASSIGN_OR_RETURN(logits_, Arena::Create(logits));
  }
  if (normed > normed_.size()) {
    ASSIGN_OR_RETURN(normed_, Arena::Create(normed));
  }
  return absl::OkStatus();
}

absl::Status CpuBackend::DoPrepare(const StepLimits& limits) {
  huge_page_mover_.Start(panel_memory_.Taken());
  rope_.Reserve(limits.max_tokens, kUsualRopePairs);
  return ReserveLogits(limits);
}

absl::Status CpuBackend::DoBegin(const RaggedBatch&) {
  rope_.Clear();
  return absl::OkStatus();
}

absl::Status CpuBackend::DoEmbedding(const EmbeddingArgs& args) {
  cpu::Embedding(context_, batch(), args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoNorm(const NormArgs& args) {
  cpu::Norm(context_, args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoLinear(const LinearArgs& args) {
  cpu::Linear(context_, args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoLinearGroup(absl::Span<const LinearArgs> group) {
  cpu::LinearGroup(context_, group);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoPerHeadLinear(const PerHeadLinearArgs& args) {
  cpu::PerHeadLinear(context_, args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoGqaCacheWrite(const GqaCacheWriteArgs& args) {
  cpu::GqaCacheWrite(context_, batch(), rope_, args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoMlaCacheWrite(const MlaCacheWriteArgs& args) {
  cpu::MlaCacheWrite(context_, batch(), rope_, args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoGqaAttention(const GqaAttentionArgs& args) {
  return cpu::GqaAttention(context_, batch(), args);
}

absl::Status CpuBackend::DoMlaAttention(const MlaAttentionArgs& args) {
  return cpu::MlaAttention(context_, batch(), args);
}

absl::Status CpuBackend::DoMlaExpandedAttention(const MlaExpandedAttentionArgs& args) {
  return cpu::MlaExpandedAttention(context_, batch(), section_, args);
}

absl::Status CpuBackend::DoGatedActivation(const GatedActivationArgs& args) {
  cpu::GatedActivation(context_, args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoGatedLinear(const GatedLinearArgs& args) {
  if (cpu::GatedLinear(context_, args)) return absl::OkStatus();
  return Backend::DoGatedLinear(args);
}

absl::Status CpuBackend::DoRoute(const RouteArgs& args) {
  cpu::Route(context_, args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoGatherRows(const GatherRowsArgs& args) {
  cpu::GatherRows(context_, args);
  return absl::OkStatus();
}

absl::Status CpuBackend::DoCombineRows(const CombineRowsArgs& args) {
  cpu::CombineRows(context_, args);
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const float>> CpuBackend::DoFinish(const LogitsArgs& args) {
  const std::vector<int32_t>& tokens = batch().logit_tokens;
  if (tokens.empty()) return absl::Span<const float>();
  // Does nothing but in the first step of who packs weights after Prepare.
  RETURN_IF_ERROR(ReserveLogits(limits()));
  const int64_t hidden = args.hidden.shape[1];
  const int64_t vocab = args.output->shape()[0];
  float* normed = reinterpret_cast<float*>(normed_.data());
  float* logits = reinterpret_cast<float*>(logits_.data());
  for (size_t i = 0; i < tokens.size(); ++i) {
    context_.kernels->rms_norm(args.hidden.as<float>() + tokens[i] * hidden,
                               AsCpu(*args.norm_weight).vector(), args.norm_eps, hidden,
                               normed + i * hidden);
  }
  Product product;
  product.weight = &AsCpu(*args.output);
  product.rows = vocab;
  product.k = hidden;
  product.in = normed;
  product.in_stride = hidden;
  product.tokens = static_cast<int>(tokens.size());
  product.out = logits;
  product.out_stride = vocab;
  RunProduct(context_, product);
  if (args.soft_cap > 0) {
    SoftCap(context_, args.soft_cap, static_cast<int64_t>(tokens.size()), vocab, logits);
  }
  return absl::MakeConstSpan(logits, tokens.size() * vocab);
}

absl::Status CpuBackend::DoRead(const TensorView& tensor, absl::Span<float> out) {
  std::memcpy(out.data(), tensor.data, out.size() * sizeof(float));
  return absl::OkStatus();
}

absl::Status CpuBackend::DoWrite(absl::Span<const float> values, const MutableTensorView& tensor) {
  std::memcpy(tensor.data, values.data(), values.size() * sizeof(float));
  return absl::OkStatus();
}

absl::Status CpuBackend::DoCopyPages(KvStore* store,
                                     absl::Span<const std::pair<PageId, PageId>> copies) {
  CpuKvStore& pages = static_cast<CpuKvStore&>(*store);
  for (const auto& [from, to] : copies) {
    if (from == to) continue;
    std::memcpy(pages.At(to, 0), pages.At(from, 0),
                static_cast<size_t>(pages.layout().BytesPerPage()));
  }
  return absl::OkStatus();
}

}  // namespace cpu
}  // namespace transmla
