#include "engine/backend/checks.h"

#include <cmath>

#include "absl/strings/str_cat.h"

#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/tensor/block_formats.h"

namespace transmla {
namespace {

template <typename... Args>
absl::Status Invalid(const Args&... args) {
  return absl::InvalidArgumentError(absl::StrCat(args...));
}

// A tensor of activations: there, of the backend's type, of `rank` dimensions.
absl::Status CheckActivation(const TensorView& tensor, absl::string_view name, int rank,
                             const StepFacts& step) {
  if (tensor.dtype != step.activation) {
    return Invalid(name, " is ", DTypeName(tensor.dtype), ", the backend computes in ",
                   DTypeName(step.activation));
  }
  if (tensor.shape.rank() != rank) {
    return Invalid(name, " has shape ", tensor.shape.ToString(), ", expected ", rank,
                   " dimensions");
  }
  if (tensor.data == nullptr && tensor.shape.elements() != 0) return Invalid(name, " has no data");
  return absl::OkStatus();
}

// As above, with one row a token of the step.
absl::Status CheckTokens(const TensorView& tensor, absl::string_view name, int rank,
                         const StepFacts& step) {
  RETURN_IF_ERROR(CheckActivation(tensor, name, rank, step));
  if (tensor.shape[0] != step.batch.tokens()) {
    return Invalid(name, " has shape ", tensor.shape.ToString(), ", the step has ",
                   step.batch.tokens(), " tokens");
  }
  return absl::OkStatus();
}

absl::Status CheckSameShape(const TensorView& a, absl::string_view a_name, const TensorView& b,
                            absl::string_view b_name) {
  if (a.shape == b.shape) return absl::OkStatus();
  return Invalid(a_name, " has shape ", a.shape.ToString(), ", ", b_name, " has ",
                 b.shape.ToString(), "; they must be equal");
}

absl::Status CheckRank(const PackedWeight* weight, absl::string_view name, int rank) {
  if (weight == nullptr) return Invalid(name, " is missing");
  if (weight->shape().rank() == rank) return absl::OkStatus();
  return Invalid(name, " has shape ", weight->shape().ToString(), ", expected ", rank,
                 " dimensions");
}

absl::Status CheckDim(int64_t value, absl::string_view name, int64_t expected,
                      absl::string_view why) {
  if (value == expected) return absl::OkStatus();
  return Invalid(name, " is ", value, ", expected ", expected, ": ", why);
}

// A head's values must be whole groups of a store of 8-bit integers.
absl::Status CheckHeadGroups(const KvLayout& layout, int64_t head_dim) {
  if (layout.dtype != DType::kI8 || head_dim % layout.group == 0) return absl::OkStatus();
  return Invalid("head_dim ", head_dim, " is not a multiple of the store's group of ",
                 layout.group);
}

// The store, its kind, the layer, and every page that the step's sequences reach. Entries of a page
// table behind a sequence's last position are not looked at.
absl::Status CheckStore(const KvStore* store, AttentionKind kind, int layer,
                        const RaggedBatch& batch) {
  if (store == nullptr) return Invalid("store is missing");
  const KvLayout& layout = store->layout();
  if (layout.attention != kind) {
    return Invalid("store holds the other kind of attention than the operation");
  }
  if (layer < 0 || layer >= layout.num_layers) {
    return Invalid("layer ", layer, " is outside the store's ", layout.num_layers, " layers");
  }
  for (int s = 0; s < batch.sequences(); ++s) {
    const int last = batch.positions[batch.sequence_starts[s + 1] - 1];
    const PageId* table = batch.pages.data() + batch.page_starts[s];
    for (int i = 0; i <= last / kPageTokens; ++i) {
      if (table[i] < 0 || table[i] >= store->pages()) {
        return Invalid("page ", i, " of sequence ", s, " is ", table[i], ", the store has ",
                       store->pages(), " pages");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRope(const PackedWeight* inv_freq, int64_t rotary, float magnitude) {
  RETURN_IF_ERROR(CheckRank(inv_freq, "inv_freq", 1));
  if (2 * inv_freq->shape()[0] > rotary) {
    return Invalid("inv_freq has ", inv_freq->shape()[0], " frequencies, but there are ", rotary,
                   " elements to rotate in pairs");
  }
  if (!std::isfinite(magnitude)) return Invalid("magnitude is ", magnitude);
  return absl::OkStatus();
}

absl::Status CheckScale(float scale) {
  if (scale > 0.0f && std::isfinite(scale)) return absl::OkStatus();
  return Invalid("scale is ", scale, ", must be positive and finite");
}

absl::Status CheckSoftCap(float cap) {
  if (cap >= 0.0f && std::isfinite(cap)) return absl::OkStatus();
  return Invalid("soft_cap is ", cap, ", must be 0 or positive and finite");
}

absl::Status CheckWindow(int window) {
  if (window >= 0) return absl::OkStatus();
  return Invalid("sliding_window is ", window, ", must not be negative");
}

// What attention operations do with scores.
template <typename Args>
absl::Status CheckScoring(const Args& args) {
  RETURN_IF_ERROR(CheckWindow(args.sliding_window));
  RETURN_IF_ERROR(CheckScale(args.scale));
  return CheckSoftCap(args.soft_cap);
}

// As many as `expected` of something in a host array.
absl::Status CheckCount(size_t count, absl::string_view name, int64_t expected) {
  if (count == static_cast<size_t>(expected)) return absl::OkStatus();
  return Invalid(name, " are ", count, ", expected ", expected);
}

absl::Status CheckExpertsPerToken(int count, absl::string_view name) {
  if (count >= 1 && count <= kMaxExpertsPerToken) return absl::OkStatus();
  return Invalid(name, " is ", count, ", must be 1 to ", kMaxExpertsPerToken);
}

absl::Status CheckGroups(const ExpertGroups& groups, int top_k, int64_t experts) {
  if (groups.count < 1 || experts % groups.count != 0) {
    return Invalid("route groups are ", groups.count, ", which does not divide ", experts,
                   " experts");
  }
  const int64_t size = experts / groups.count;
  if (groups.top < 1 || groups.top > groups.count || groups.num_terms < 1 ||
      groups.num_terms > size) {
    return Invalid("route takes the top ", groups.top, " of ", groups.count, " groups, by ",
                   groups.num_terms, " of their ", size, " experts");
  }
  if (top_k > groups.top * size) {
    return Invalid("route top_k is ", top_k, ", but there are ", groups.top * size, " experts in ",
                   groups.top, " groups");
  }
  return absl::OkStatus();
}

absl::Status CheckRows(absl::Span<const int32_t> rows, absl::string_view name, int64_t count) {
  for (const int32_t row : rows) {
    if (row < 0 || row >= count) {
      return Invalid(name, " have ", row, ", but the input has ", count, " rows");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckStarts(const std::vector<int32_t>& starts, absl::string_view name, int sequences,
                         int64_t total) {
  if (starts.size() != static_cast<size_t>(sequences) + 1) {
    return Invalid(name, " has ", starts.size(), " entries, expected ", sequences + 1);
  }
  if (starts.front() != 0 || starts.back() != total) {
    return Invalid(name, " runs from ", starts.front(), " to ", starts.back(), ", expected 0 to ",
                   total);
  }
  for (int s = 0; s < sequences; ++s) {
    if (starts[s + 1] <= starts[s]) {
      return Invalid(name, "[", s + 1, "] is ", starts[s + 1], ", not above ", starts[s],
                     " before it");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSequence(const RaggedBatch& batch, int s, const StepLimits& limits) {
  const int begin = batch.sequence_starts[s];
  const int end = batch.sequence_starts[s + 1];
  const int first = batch.positions[begin];
  for (int t = begin; t < end; ++t) {
    if (batch.positions[t] != int64_t{first} + (t - begin)) {
      return Invalid("positions[", t, "] is ", batch.positions[t], ", expected ",
                     int64_t{first} + (t - begin), ": those of a sequence are consecutive");
    }
  }
  const int last = batch.positions[end - 1];
  if (first < 0 || last >= limits.max_context_tokens) {
    return Invalid("sequence ", s, " has positions ", first, " to ", last, ", allowed are 0 to ",
                   limits.max_context_tokens - 1);
  }
  const int pages = batch.page_starts[s + 1] - batch.page_starts[s];
  if (pages <= last / kPageTokens) {
    return Invalid("sequence ", s, " has ", pages, " pages, its position ", last, " needs ",
                   last / kPageTokens + 1);
  }
  return absl::OkStatus();
}

// Ranges of tokens that attend in expanded form: none, or one of each sequence.
absl::Status CheckExpanded(const RaggedBatch& batch, const StepLimits& limits) {
  if (batch.expanded.empty()) return absl::OkStatus();
  if (batch.expanded.size() != static_cast<size_t>(batch.sequences())) {
    return Invalid("step has ", batch.sequences(), " sequences but ", batch.expanded.size(),
                   " ranges of expanded tokens");
  }
  for (int s = 0; s < batch.sequences(); ++s) {
    const TokenRange& range = batch.expanded[s];
    if (range.begin < batch.sequence_starts[s] || range.end < range.begin ||
        range.end > batch.sequence_starts[s + 1]) {
      return Invalid("tokens ", range.begin, " to ", range.end, " are expanded, sequence ", s,
                     " has ", batch.sequence_starts[s], " to ", batch.sequence_starts[s + 1]);
    }
  }
  if (limits.expanded_attention || batch.expanded_tokens() == 0) return absl::OkStatus();
  return Invalid("step has expanded tokens, which its limits do not allow");
}

}  // namespace

absl::Status CheckWeight(const WeightSource& source) {
  const TensorView& view = source.view;
  const int rank = source.role == WeightRole::kVector    ? 1
                   : source.role == WeightRole::kPerHead ? 3
                                                         : 2;
  if (view.shape.rank() != rank) {
    return Invalid("weight has shape ", view.shape.ToString(), ", its role has ", rank,
                   " dimensions");
  }
  if (view.data == nullptr || view.shape.elements() == 0) {
    return Invalid("weight of shape ", view.shape.ToString(), " has no data");
  }
  if (!IsDequantizable(view.dtype)) {
    return Invalid("weights of type ", DTypeName(view.dtype), " cannot be computed with");
  }
  const int block = TraitsOf(view.dtype).block_elements;
  if (view.shape.cols() % block != 0) {
    return Invalid("rows of ", view.shape.cols(), " elements are not whole blocks of ", block,
                   " of type ", DTypeName(view.dtype));
  }
  return absl::OkStatus();
}

absl::Status CheckKvLayout(const KvLayout& layout, int pages) {
  if (layout.num_layers < 1 || layout.first_dim < 1 || layout.second_dim < 0 || pages < 1) {
    return Invalid("cache of ", layout.num_layers, " layers, ", layout.first_dim, " + ",
                   layout.second_dim, " values a token and ", pages,
                   " pages: all but the second must be positive");
  }
  if (!IsCacheDType(layout.dtype)) {
    return Invalid("cache type is ", DTypeName(layout.dtype), ", must be ", kCacheDTypeChoice);
  }
  if (layout.dtype != DType::kI8) return CheckDim(layout.group, "cache group", 0, "no scales");
  if (layout.group < 1 || layout.group > kMaxKvGroup) {
    return Invalid("cache group is ", layout.group, ", must be 1 to ", kMaxKvGroup);
  }
  return absl::OkStatus();
}

absl::Status CheckTensorShape(const Shape& shape) {
  if (shape.rank() >= 1 && shape.elements() > 0) return absl::OkStatus();
  return Invalid("activation tensor of shape ", shape.ToString(), " has no elements");
}

absl::Status CheckLimits(const StepLimits& limits) {
  if (limits.max_tokens >= 1 && limits.max_sequences >= 1 && limits.max_logit_tokens >= 0 &&
      limits.max_context_tokens >= 1) {
    return absl::OkStatus();
  }
  return Invalid("step limits must be positive: tokens ", limits.max_tokens, ", sequences ",
                 limits.max_sequences, ", logit tokens ", limits.max_logit_tokens,
                 ", context tokens ", limits.max_context_tokens);
}

absl::Status CheckBatch(const RaggedBatch& batch, const StepLimits& limits) {
  const int tokens = batch.tokens();
  const int sequences = batch.sequences();
  if (tokens < 1 || tokens > limits.max_tokens) {
    return Invalid("step has ", tokens, " tokens, allowed are 1 to ", limits.max_tokens);
  }
  if (sequences < 1 || sequences > limits.max_sequences) {
    return Invalid("step has ", sequences, " sequences, allowed are 1 to ", limits.max_sequences);
  }
  if (batch.positions.size() != batch.token_ids.size()) {
    return Invalid("step has ", tokens, " tokens but ", batch.positions.size(), " positions");
  }
  RETURN_IF_ERROR(CheckStarts(batch.sequence_starts, "sequence_starts", sequences, tokens));
  RETURN_IF_ERROR(CheckStarts(batch.page_starts, "page_starts", sequences,
                              static_cast<int64_t>(batch.pages.size())));
  for (int s = 0; s < sequences; ++s) RETURN_IF_ERROR(CheckSequence(batch, s, limits));
  RETURN_IF_ERROR(CheckExpanded(batch, limits));
  if (batch.logit_tokens.size() > static_cast<size_t>(limits.max_logit_tokens)) {
    return Invalid("step asks for ", batch.logit_tokens.size(), " rows of logits, allowed are ",
                   limits.max_logit_tokens);
  }
  int previous = -1;
  for (const int token : batch.logit_tokens) {
    if (token <= previous || token >= tokens) {
      return Invalid("logit token ", token, " must be above ", previous, " and below ", tokens);
    }
    previous = token;
  }
  return absl::OkStatus();
}

absl::Status CheckEmbedding(const EmbeddingArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckRank(args.table, "embedding table", 2));
  RETURN_IF_ERROR(CheckTokens(args.out, "embedding out", 2, step));
  RETURN_IF_ERROR(CheckDim(args.out.shape[1], "embedding out's width", args.table->shape()[1],
                           "the table's hidden size"));
  for (const int32_t id : step.batch.token_ids) {
    if (id < 0 || id >= args.table->shape()[0]) {
      return Invalid("token id ", id, " is outside the vocabulary of ", args.table->shape()[0]);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckNorm(const NormArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckActivation(args.in, "norm in", args.in.shape.rank(), step));
  RETURN_IF_ERROR(CheckActivation(args.out, "norm out", args.out.shape.rank(), step));
  RETURN_IF_ERROR(CheckSameShape(args.in, "norm in", args.out, "norm out"));
  RETURN_IF_ERROR(CheckRank(args.weight, "norm weight", 1));
  if (args.weight->shape()[0] > args.in.shape.cols()) {
    return Invalid("norm weight has ", args.weight->shape()[0], " elements, rows only ",
                   args.in.shape.cols());
  }
  if (!(args.eps >= 0.0f)) return Invalid("norm eps is ", args.eps, ", must not be negative");
  if (args.accumulate && args.in.data == args.out.data) {
    return Invalid("norm adds to its own input; out must be another tensor");
  }
  return absl::OkStatus();
}

absl::Status CheckLinear(const LinearArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckActivation(args.in, "linear in", 2, step));
  RETURN_IF_ERROR(CheckActivation(args.out, "linear out", 2, step));
  RETURN_IF_ERROR(CheckRank(args.weight, "linear weight", 2));
  const Shape& weight = args.weight->shape();
  RETURN_IF_ERROR(
      CheckDim(args.out.shape[0], "linear out's rows", args.in.shape[0], "one for each of in"));
  RETURN_IF_ERROR(
      CheckDim(args.in.shape[1], "linear in's width", weight[1], "the weight's in_features"));
  RETURN_IF_ERROR(
      CheckDim(args.out.shape[1], "linear out's width", weight[0], "the weight's out_features"));
  if (args.bias != nullptr) {
    RETURN_IF_ERROR(CheckRank(args.bias, "linear bias", 1));
    RETURN_IF_ERROR(
        CheckDim(args.bias->shape()[0], "linear bias's length", weight[0], "out_features"));
  }
  return absl::OkStatus();
}

absl::Status CheckLinearGroup(absl::Span<const LinearArgs> group, const StepFacts& step) {
  if (group.empty()) return Invalid("a group of linears is empty");
  for (const LinearArgs& args : group) {
    RETURN_IF_ERROR(CheckLinear(args, step));
    if (args.in.data != group[0].in.data || args.in.shape != group[0].in.shape) {
      return Invalid("a group of linears reads more than one tensor");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPerHeadLinear(const PerHeadLinearArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckActivation(args.in, "per-head in", 3, step));
  RETURN_IF_ERROR(CheckActivation(args.out, "per-head out", 3, step));
  RETURN_IF_ERROR(CheckRank(args.weight, "per-head weight", 3));
  const Shape& weight = args.weight->shape();
  RETURN_IF_ERROR(
      CheckDim(args.out.shape[0], "per-head out's rows", args.in.shape[0], "one for each of in"));
  RETURN_IF_ERROR(CheckDim(args.in.shape[1], "per-head in's heads", weight[0], "the weight's"));
  RETURN_IF_ERROR(CheckDim(args.out.shape[1], "per-head out's heads", weight[0], "the weight's"));
  RETURN_IF_ERROR(
      CheckDim(args.out.shape[2], "per-head out's width", weight[1], "the weight's out_features"));
  if (args.in_offset < 0 || args.in_offset > args.in.shape[2] - weight[2]) {
    return Invalid("per-head in_offset ", args.in_offset, " plus in_features ", weight[2],
                   " is outside the width ", args.in.shape[2]);
  }
  return absl::OkStatus();
}

absl::Status CheckGqaCacheWrite(const GqaCacheWriteArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckTokens(args.q, "q", 3, step));
  RETURN_IF_ERROR(CheckTokens(args.k, "k", 3, step));
  RETURN_IF_ERROR(CheckTokens(args.v, "v", 3, step));
  RETURN_IF_ERROR(CheckSameShape(args.k, "k", args.v, "v"));
  RETURN_IF_ERROR(CheckDim(args.q.shape[2], "q's head_dim", args.k.shape[2], "that of k"));
  RETURN_IF_ERROR(CheckRope(args.inv_freq, args.k.shape[2], args.magnitude));
  RETURN_IF_ERROR(CheckStore(args.store, AttentionKind::kGqa, args.layer, step.batch));
  RETURN_IF_ERROR(CheckHeadGroups(args.store->layout(), args.k.shape[2]));
  const int64_t width = args.k.shape[1] * args.k.shape[2];
  RETURN_IF_ERROR(CheckDim(width, "k's width", args.store->layout().first_dim, "the store's"));
  return CheckDim(width, "v's width", args.store->layout().second_dim, "the store's");
}

absl::Status CheckMlaCacheWrite(const MlaCacheWriteArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckTokens(args.q, "q", 3, step));
  RETURN_IF_ERROR(CheckTokens(args.kv, "kv", 2, step));
  RETURN_IF_ERROR(CheckStore(args.store, AttentionKind::kMla, args.layer, step.batch));
  const KvLayout& layout = args.store->layout();
  RETURN_IF_ERROR(CheckDim(args.kv.shape[1], "kv's width", layout.ValuesPerTokenAndLayer(),
                           "latent and rope key of the store"));
  if (args.q.shape[2] < layout.second_dim) {
    return Invalid("q's head width ", args.q.shape[2], " is below qk_rope_head_dim ",
                   layout.second_dim);
  }
  RETURN_IF_ERROR(CheckRope(args.inv_freq, layout.second_dim, args.magnitude));
  return CheckDim(2 * args.inv_freq->shape()[0], "twice inv_freq's length", layout.second_dim,
                  "qk_rope_head_dim");
}

absl::Status CheckGqaAttention(const GqaAttentionArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckTokens(args.q, "q", 3, step));
  RETURN_IF_ERROR(CheckTokens(args.out, "out", 3, step));
  RETURN_IF_ERROR(CheckSameShape(args.q, "q", args.out, "out"));
  RETURN_IF_ERROR(CheckStore(args.store, AttentionKind::kGqa, args.layer, step.batch));
  const KvLayout& layout = args.store->layout();
  const int64_t head_dim = args.q.shape[2];
  if (head_dim == 0 || layout.first_dim % head_dim != 0 || layout.second_dim != layout.first_dim) {
    return Invalid("the store's ", layout.first_dim, " and ", layout.second_dim,
                   " values are not the same number of heads of ", head_dim);
  }
  RETURN_IF_ERROR(CheckHeadGroups(layout, head_dim));
  const int64_t kv_heads = layout.first_dim / head_dim;
  if (args.q.shape[1] % kv_heads != 0) {
    return Invalid("q's ", args.q.shape[1], " heads are not a multiple of the store's ", kv_heads);
  }
  return CheckScoring(args);
}

absl::Status CheckMlaAttention(const MlaAttentionArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckTokens(args.q_latent, "q_latent", 3, step));
  RETURN_IF_ERROR(CheckTokens(args.q, "q", 3, step));
  RETURN_IF_ERROR(CheckTokens(args.out, "out", 3, step));
  RETURN_IF_ERROR(CheckSameShape(args.q_latent, "q_latent", args.out, "out"));
  RETURN_IF_ERROR(CheckStore(args.store, AttentionKind::kMla, args.layer, step.batch));
  const KvLayout& layout = args.store->layout();
  RETURN_IF_ERROR(
      CheckDim(args.q.shape[1], "q's heads", args.q_latent.shape[1], "those of q_latent"));
  RETURN_IF_ERROR(CheckDim(args.q_latent.shape[2], "q_latent's width", layout.first_dim,
                           "kv_lora_rank of the store"));
  if (args.q.shape[2] < layout.second_dim) {
    return Invalid("q's head width ", args.q.shape[2], " is below qk_rope_head_dim ",
                   layout.second_dim);
  }
  return CheckScoring(args);
}

absl::Status CheckMlaExpandedAttention(const MlaExpandedAttentionArgs& args,
                                       const StepFacts& step) {
  RETURN_IF_ERROR(CheckTokens(args.q, "q", 3, step));
  RETURN_IF_ERROR(CheckTokens(args.out, "out", 3, step));
  RETURN_IF_ERROR(CheckRank(args.w_uk, "w_uk", 3));
  RETURN_IF_ERROR(CheckRank(args.w_uv, "w_uv", 3));
  RETURN_IF_ERROR(CheckStore(args.store, AttentionKind::kMla, args.layer, step.batch));
  const KvLayout& layout = args.store->layout();
  const Shape& keys = args.w_uk->shape();
  const Shape& values = args.w_uv->shape();
  RETURN_IF_ERROR(CheckDim(keys[0], "w_uk's heads", args.q.shape[1], "those of q"));
  RETURN_IF_ERROR(CheckDim(values[0], "w_uv's heads", args.q.shape[1], "those of q"));
  RETURN_IF_ERROR(CheckDim(keys[2], "w_uk's width", layout.first_dim, "kv_lora_rank of the store"));
  RETURN_IF_ERROR(
      CheckDim(values[2], "w_uv's width", layout.first_dim, "kv_lora_rank of the store"));
  RETURN_IF_ERROR(CheckDim(args.q.shape[2], "q's head width", keys[1] + layout.second_dim,
                           "keys of w_uk and qk_rope_head_dim of the store"));
  RETURN_IF_ERROR(CheckDim(args.out.shape[1], "out's heads", args.q.shape[1], "those of q"));
  RETURN_IF_ERROR(CheckDim(args.out.shape[2], "out's width", values[1], "values of w_uv"));
  return CheckScoring(args);
}

absl::Status CheckGatedActivation(const GatedActivationArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckActivation(args.gate, "gate", 2, step));
  RETURN_IF_ERROR(CheckActivation(args.up, "up", 2, step));
  RETURN_IF_ERROR(CheckActivation(args.out, "out", 2, step));
  RETURN_IF_ERROR(CheckSameShape(args.gate, "gate", args.up, "up"));
  return CheckSameShape(args.gate, "gate", args.out, "out");
}

absl::Status CheckGatedLinear(const GatedLinearArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckLinear({.in = args.in, .weight = args.gate, .out = args.out}, step));
  RETURN_IF_ERROR(CheckLinear({.in = args.in, .weight = args.up, .out = args.up_out}, step));
  return CheckSameShape(args.up_out, "up", args.out, "out");
}

absl::Status CheckRoute(const RouteArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckTokens(args.logits, "route logits", 2, step));
  RETURN_IF_ERROR(CheckExpertsPerToken(args.top_k, "route top_k"));
  const int64_t experts = args.logits.shape[1];
  if (args.top_k > experts) {
    return Invalid("route top_k is ", args.top_k, ", but there are ", experts, " experts");
  }
  RETURN_IF_ERROR(CheckGroups(args.groups, args.top_k, experts));
  if (args.bias != nullptr) {
    RETURN_IF_ERROR(CheckRank(args.bias, "route bias", 1));
    RETURN_IF_ERROR(CheckDim(args.bias->shape()[0], "route bias", experts, "one for each expert"));
  }
  const int64_t routes = args.logits.shape[0] * args.top_k;
  RETURN_IF_ERROR(CheckCount(args.experts.size(), "route experts", routes));
  return CheckCount(args.weights.size(), "route weights", routes);
}

absl::Status CheckGatherRows(const GatherRowsArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckTokens(args.in, "gather in", 2, step));
  RETURN_IF_ERROR(CheckActivation(args.out, "gather out", 2, step));
  RETURN_IF_ERROR(CheckCount(args.rows.size(), "gather rows", args.out.shape[0]));
  if (args.out.shape[0] > int64_t{kMaxExpertsPerToken} * step.batch.tokens()) {
    return Invalid("gather out has ", args.out.shape[0], " rows, more than ", kMaxExpertsPerToken,
                   " for each of the step's ", step.batch.tokens(), " tokens");
  }
  RETURN_IF_ERROR(
      CheckDim(args.out.shape[1], "gather out's width", args.in.shape[1], "that of in"));
  RETURN_IF_ERROR(CheckRows(args.rows, "gather rows", args.in.shape[0]));
  if (args.in.data == args.out.data) return Invalid("gather in and out must be different tensors");
  return absl::OkStatus();
}

absl::Status CheckCombineRows(const CombineRowsArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckActivation(args.in, "combine in", 2, step));
  RETURN_IF_ERROR(CheckTokens(args.out, "combine out", 2, step));
  RETURN_IF_ERROR(CheckExpertsPerToken(args.terms, "combine terms"));
  const int64_t routes = args.out.shape[0] * args.terms;
  RETURN_IF_ERROR(CheckCount(args.rows.size(), "combine rows", routes));
  RETURN_IF_ERROR(CheckCount(args.weights.size(), "combine weights", routes));
  RETURN_IF_ERROR(
      CheckDim(args.out.shape[1], "combine out's width", args.in.shape[1], "that of in"));
  RETURN_IF_ERROR(CheckRows(args.rows, "combine rows", args.in.shape[0]));
  if (args.in.data == args.out.data) return Invalid("combine in and out must be different tensors");
  return absl::OkStatus();
}

absl::Status CheckLogits(const LogitsArgs& args, const StepFacts& step) {
  RETURN_IF_ERROR(CheckTokens(args.hidden, "hidden", 2, step));
  RETURN_IF_ERROR(CheckRank(args.norm_weight, "final norm weight", 1));
  RETURN_IF_ERROR(CheckRank(args.output, "output projection", 2));
  RETURN_IF_ERROR(CheckDim(args.norm_weight->shape()[0], "final norm weight's length",
                           args.hidden.shape[1], "hidden size"));
  if (!(args.norm_eps >= 0.0f)) {
    return Invalid("final norm eps is ", args.norm_eps, ", must not be negative");
  }
  RETURN_IF_ERROR(CheckSoftCap(args.soft_cap));
  return CheckDim(args.output->shape()[1], "output projection's width", args.hidden.shape[1],
                  "hidden size");
}

absl::Status CheckTransfer(const TensorView& tensor, int64_t values) {
  RETURN_IF_ERROR(
      CheckDim(values, "number of host values", tensor.shape.elements(), "the tensor's elements"));
  if (tensor.data == nullptr && values != 0) return Invalid("tensor has no data");
  return absl::OkStatus();
}

absl::Status CheckCopyPages(const KvStore* store,
                            absl::Span<const std::pair<PageId, PageId>> copies) {
  if (store == nullptr) return Invalid("store is missing");
  for (const auto& [from, to] : copies) {
    for (const PageId page : {from, to}) {
      if (page < 0 || page >= store->pages()) {
        return Invalid("page ", page, " to copy is outside the store's ", store->pages(), " pages");
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace transmla
