#include "engine/backend/cpu/mla_expanded_attention.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

#include "engine/backend/cpu/block_attention.h"
#include "engine/backend/cpu/linear.h"
#include "engine/backend/cpu/weight.h"
#include "engine/base/checked_math.h"
#include "engine/base/status.h"

namespace transmla::cpu {
namespace {

// Positions of a section, whole spans: keys and values of a head then stay in the second-level
// cache while all blocks of queries meet them.
constexpr int kSectionTokens = 2 * kSpanTokens;
constexpr int kSectionPages = kSectionTokens / kPageTokens;

// Bytes of the states of softmax that queries have between two sections. More queries go in parts,
// each of which expands the context anew.
constexpr int64_t kStateBytes = int64_t{8} << 20;

// Positions that are expanded to floats at a time, if the workspace holds them.
constexpr int kExpandTokens = kSpanTokens;

// Tokens of a task that stores rows.
constexpr int kTaskTokens = 8;

// What keys and values are kept as: those of a head together, as a layer, since rows of all heads
// are a multiple of a memory page apart and would get into each other's way in the first-level
// cache.
KvLayout SectionLayout(const MlaExpandedAttentionArgs& args) {
  const KvLayout& cached = args.store->layout();
  return {.attention = AttentionKind::kGqa,
          .num_layers = static_cast<int>(args.q.shape[1]),
          .first_dim = static_cast<int>(args.q.shape[2]),
          .second_dim = static_cast<int>(args.out.shape[2]),
          .dtype = cached.dtype == DType::kI8 ? DType::kBF16 : cached.dtype};
}

bool SameLayout(const KvLayout& a, const KvLayout& b) {
  return a.num_layers == b.num_layers && a.first_dim == b.first_dim &&
         a.second_dim == b.second_dim && a.dtype == b.dtype;
}

// One call of the operation.
class ExpandedAttention {
 public:
  ExpandedAttention(CpuContext& context, const RaggedBatch& batch, CpuKvStore& section,
                    const MlaExpandedAttentionArgs& args)
      : context_(context),
        batch_(batch),
        args_(args),
        store_(static_cast<const CpuKvStore&>(*args.store)),
        section_(section),
        heads_(args.q.shape[1]),
        width_(args.q.shape[2]),
        value_dim_(args.out.shape[2]),
        rank_(store_.layout().first_dim),
        rope_(store_.layout().second_dim),
        call_(AttentionCall::Of(args)) {
    call_.store = &section;
    call_.kv_heads = call_.heads;
    call_.query[0] = {args.q.as<float>(), heads_ * width_, width_, width_};
    call_.key_dim = width_;
    call_.head_layers = true;
    call_.value_dim = value_dim_;
  }

  absl::Status Run() {
    RETURN_IF_ERROR(call_.CheckWorkspace());
    RETURN_IF_ERROR(LayOut());
    for (int s = 0; s < batch_.sequences(); ++s) {
      const TokenRange tokens = batch_.expanded[s];
      for (int begin = tokens.begin; begin < tokens.end; begin += part_tokens_) {
        RunPart(s, {begin, std::min(begin + part_tokens_, tokens.end)});
      }
    }
    return absl::OkStatus();
  }

 private:
  // Parts of CpuContext::partials.
  absl::Status LayOut() {
    int last_position = 0;
    for (const TokenRange& range : batch_.expanded) {
      if (range.tokens() > 0) {
        last_position = std::max(last_position, batch_.positions[range.end - 1]);
      }
    }
    const int pages = last_position / kPageTokens + 1;
    const int64_t token_floats = rank_ + rope_ + heads_ * (width_ + value_dim_);
    // Whole blocks, at least one.
    const int block_tokens = call_.block_tokens();
    const int64_t token_state_bytes = heads_ * static_cast<int64_t>(sizeof(SoftmaxState));
    const int64_t part_blocks = std::clamp<int64_t>(kStateBytes / token_state_bytes / block_tokens,
                                                    1, CeilDiv(batch_.tokens(), block_tokens));
    part_tokens_ = static_cast<int>(part_blocks) * block_tokens;
    const int64_t fixed_floats = 2 * part_tokens_ * heads_ + pages;
    const int64_t room = CpuContext::kPartialBytes / static_cast<int64_t>(sizeof(float));
    expand_tokens_ = static_cast<int>(std::min<int64_t>(
        kExpandTokens, (room - fixed_floats) / token_floats / kPageTokens * kPageTokens));
    if (expand_tokens_ <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("expanded attention of ", heads_, " heads of ", width_, " and ", value_dim_,
                       " elements needs ", fixed_floats + kPageTokens * token_floats,
                       " floats of workspace, the limit is ", room));
    }
    float* at = reinterpret_cast<float*>(context_.partials.data());
    const auto take = [&at](int64_t n) {
      float* begin = at;
      at += n;
      return begin;
    };
    keys_ = take(expand_tokens_ * heads_ * width_);
    values_ = take(expand_tokens_ * heads_ * value_dim_);
    cached_ = take(expand_tokens_ * (rank_ + rope_));
    states_ = reinterpret_cast<SoftmaxState*>(take(2 * part_tokens_ * heads_));
    section_pages_ = reinterpret_cast<PageId*>(take(pages));
    for (int i = 0; i < pages; ++i) section_pages_[i] = i % kSectionPages;
    return absl::OkStatus();
  }

  // Some tokens of sequence s.
  void RunPart(int s, const TokenRange& tokens) {
    const PageId* pages = batch_.pages.data() + batch_.page_starts[s];
    const int first_position = batch_.positions[tokens.begin];
    const int end_position = first_position + tokens.tokens();
    const int seen_from = call_.window == 0 ? 0 : std::max(0, first_position - call_.window + 1);
    const int start = seen_from / kSectionTokens * kSectionTokens;
    for (int base = start; base < end_position; base += kSectionTokens) {
      const int end = std::min(base + kSectionTokens, end_position);
      Expand(pages, base, end);
      Attend(tokens, base, end, /*first=*/base == start);
    }
  }

  // Cached positions [base, end) of a sequence → keys and values in the section.
  void Expand(const PageId* pages, int base, int end) {
    for (int first = base; first < end; first += expand_tokens_) {
      const int tokens = std::min(expand_tokens_, end - first);
      Decode(pages, first, tokens);
      Multiply(tokens);
      Store(first, tokens);
    }
  }

  void Decode(const PageId* pages, int first, int tokens) {
    const int64_t stride = rank_ + rope_;
    context_.pool->ParallelFor(CeilDiv(tokens, kPageTokens), [&](int64_t i, int) {
      const int at = static_cast<int>(i) * kPageTokens;
      const std::byte* page = store_.At(pages[(first + at) / kPageTokens], args_.layer);
      float* out = cached_ + at * stride;
      for (const CacheRows& rows : store_.keys()) {
        context_.kernels->decode_tile(TileOf(rows, page, 0, rows.dim),
                                      std::min(kPageTokens, tokens - at), out, stride);
        out += rows.dim;
      }
    });
  }

  void Multiply(int tokens) {
    Product product;
    product.weight = &AsCpu(*args_.w_uk);
    product.matrices = heads_;
    product.rows = width_ - rope_;
    product.k = rank_;
    product.in = cached_;
    product.in_stride = rank_ + rope_;
    product.tokens = tokens;
    product.out = keys_;
    product.out_step = width_;
    product.out_stride = heads_ * width_;
    RunProduct(context_, product);
    product.weight = &AsCpu(*args_.w_uv);
    product.matrices = 1;
    product.rows = heads_ * value_dim_;
    product.out = values_;
    product.out_step = 0;
    product.out_stride = heads_ * value_dim_;
    RunProduct(context_, product);
  }

  void Store(int first, int tokens) {
    context_.pool->ParallelFor(CeilDiv(tokens, kTaskTokens), [&](int64_t task, int) {
      const int begin = static_cast<int>(task) * kTaskTokens;
      for (int t = begin; t < std::min(begin + kTaskTokens, tokens); ++t) {
        const float* rope_key = cached_ + t * (rank_ + rope_) + rank_;
        const PageId page = section_pages_[(first + t) / kPageTokens];
        const int slot = (first + t) % kPageTokens;
        for (int h = 0; h < call_.heads; ++h) {
          float* key = keys_ + (t * heads_ + h) * width_;
          std::copy_n(rope_key, rope_, key + width_ - rope_);
          std::byte* at = section_.At(page, h);
          StoreRow(section_.keys()[0], key, at, slot);
          StoreRow(section_.values(), values_ + (t * heads_ + h) * value_dim_, at, slot);
        }
      }
    });
  }

  // The part's queries meet the sequence's positions [base, end).
  void Attend(const TokenRange& tokens, int base, int end, bool first) {
    const int block_tokens = call_.block_tokens();
    const int blocks = CeilDiv(tokens.tokens(), block_tokens);
    // Blocks of one head after the other, so that its keys and values are read once.
    context_.pool->ParallelFor(heads_ * blocks, [&](int64_t task, int worker) {
      const int begin = tokens.begin + static_cast<int>(task % blocks) * block_tokens;
      const QueryBlock block{.first = begin,
                             .tokens = std::min(block_tokens, tokens.end - begin),
                             .first_position = batch_.positions[begin],
                             .pages = section_pages_};
      if (block.end_position() <= base) return;  // has seen everything already
      BlockAttention attention(*context_.kernels, call_, block, static_cast<int>(task / blocks),
                               context_.Scratch(worker));
      SoftmaxState* const states = states_ + task * block_tokens;
      first ? attention.ClearTotal() : attention.RestoreTotal(states);
      attention.GatherQuery();
      const KernelScope scope(*context_.kernels);
      attention.AddSpans(base / kSpanTokens, CeilDiv(end, kSpanTokens));
      block.end_position() <= end ? attention.WriteOut() : attention.SaveTotal(states);
    });
  }

  CpuContext& context_;
  const RaggedBatch& batch_;
  const MlaExpandedAttentionArgs& args_;
  const CpuKvStore& store_;
  CpuKvStore& section_;
  const int64_t heads_;
  const int64_t width_;  // of a query's and key's head
  const int64_t value_dim_;
  const int64_t rank_;
  const int64_t rope_;
  AttentionCall call_;

  int expand_tokens_ = 0;
  int part_tokens_ = 0;
  float* keys_ = nullptr;            // [expand_tokens, heads, width]
  float* values_ = nullptr;          // [expand_tokens, heads, value_dim]
  float* cached_ = nullptr;          // [expand_tokens, rank + rope]
  SoftmaxState* states_ = nullptr;   // [heads, blocks of a part, block_tokens]
  PageId* section_pages_ = nullptr;  // a sequence's page → its page of the section
};

}  // namespace

absl::Status MlaExpandedAttention(CpuContext& context, const RaggedBatch& batch,
                                  std::unique_ptr<CpuKvStore>& section,
                                  const MlaExpandedAttentionArgs& args) {
  if (batch.expanded_tokens() == 0) return absl::OkStatus();
  const KvLayout layout = SectionLayout(args);
  if (section == nullptr || !SameLayout(section->layout(), layout)) {
    ASSIGN_OR_RETURN(section, CpuKvStore::Create(layout, kSectionPages));
  }
  return ExpandedAttention(context, batch, *section, args).Run();
}

}  // namespace transmla::cpu
