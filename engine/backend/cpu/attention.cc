#include "engine/backend/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

#include "engine/backend/cpu/cache_line.h"
#include "engine/backend/cpu/cpu_kv_store.h"
#include "engine/base/checked_math.h"

namespace transmla::cpu {
namespace {

static_assert(kSpanTokens % kPageTokens == 0);

constexpr float kNone = -std::numeric_limits<float>::infinity();

// Query rows (tokens times heads of a group) that a task aims at: enough to pay for reading and
// decoding a tile, few enough that their sums stay in the second-level cache.
constexpr int kTargetRows = 64;

// Up to so many rows, values are decoded in registers, for each group of rows anew.
constexpr int kDirectRows = 40;

// Part of the queries' rows: `dim` floats of each head.
struct QueryPart {
  const float* data = nullptr;
  int64_t token_stride = 0;
  int64_t head_stride = 0;
  int64_t dim = 0;
};

// Room for `rows` packed rows that meet `cols` columns of a part of the keys; a multiple of 64.
int64_t PackedPartBytes(const CacheRows& part, int rows, int64_t cols) {
  return part.dtype == DType::kI8 ? PackedInt8Bytes(rows, cols, part.group)
                                  : PackedBytes(rows, cols);
}

// One call of an attention operation, with the two kinds made alike.
struct Call {
  const CpuKvStore* store = nullptr;
  int layer = 0;
  int heads = 0;
  int kv_heads = 0;             // 1 for MLA
  QueryPart query[2];           // concatenated they face a row of keys
  int64_t key_dim = 0;          // of one key/value head
  int64_t value_dim = 0;        // of one key/value head
  bool values_in_keys = false;  // MLA: values are the keys' first value_dim columns
  float scale = 0.0f;
  float soft_cap = 0.0f;  // 0: none
  int window = 0;         // 0: all
  float* out = nullptr;   // [tokens, heads, value_dim]

  int group() const { return heads / kv_heads; }
  int block_tokens() const { return std::max(1, kTargetRows / group()); }
  // Floats of a worker's workspace: see Workspace.
  int64_t WorkspaceFloats() const {
    const int64_t rows = int64_t{block_tokens()} * group();
    return rows * (key_dim + kPageTokens + 2 * value_dim + 5) + kPageTokens * value_dim +
           PackedFloats(static_cast<int>(rows));
  }
  // Calls fn(rows of the cache, columns of one key) for each part of a key. Only rows that all
  // heads share are in several.
  template <typename Fn>
  void ForEachKeyPart(Fn&& fn) const {
    const absl::Span<const CacheRows> parts = store->keys();
    for (const CacheRows& rows : parts) fn(rows, parts.size() == 1 ? key_dim : rows.dim);
  }
  // Room for the packed queries of `rows` rows.
  int64_t PackedFloats(int rows) const {
    int64_t bytes = 0;
    ForEachKeyPart(
        [&](const CacheRows& part, int64_t cols) { bytes += PackedPartBytes(part, rows, cols); });
    return bytes / static_cast<int64_t>(sizeof(float));
  }
};

// Consecutive query tokens of one sequence.
struct Block {
  int sequence = 0;
  int first = 0;  // token of the step
  int tokens = 0;
};

// A worker's buffers; row r is head r % group of the block's token r / group.
struct Workspace {
  void* packed;              // PackedPartBytes(part, rows, dim) of each part of a key
  float* query;              // [rows, key_dim]
  float* values;             // [kPageTokens, value_dim]
  float* scores;             // [rows, kPageTokens]
  float* alpha;              // [rows]
  float* span_sums;          // [rows, value_dim]
  float* sums;               // [rows, value_dim]
  SoftmaxState* span_state;  // [rows]
  SoftmaxState* state;       // [rows]

  Workspace(float* at, const Call& call, int rows) {
    const auto take = [&at](int64_t n) {
      float* begin = at;
      at += n;
      return begin;
    };
    packed = take(call.PackedFloats(rows));
    query = take(rows * call.key_dim);
    values = take(kPageTokens * call.value_dim);
    scores = take(int64_t{rows} * kPageTokens);
    span_sums = take(rows * call.value_dim);
    sums = take(rows * call.value_dim);
    alpha = take(rows);
    span_state = reinterpret_cast<SoftmaxState*>(take(2 * rows));
    state = reinterpret_cast<SoftmaxState*>(take(2 * rows));
  }
};

// While one lives, the thread may call the kernels of attention.
class KernelScope {
 public:
  explicit KernelScope(const Kernels& kernels) : kernels_(kernels) {
    if (kernels_.begin_attention != nullptr) kernels_.begin_attention();
  }
  ~KernelScope() {
    if (kernels_.end_attention != nullptr) kernels_.end_attention();
  }
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;

 private:
  const Kernels& kernels_;
};

// Attention of one block and one key/value head, span by span.
class BlockAttention {
 public:
  BlockAttention(const Kernels& kernels, const RaggedBatch& batch, const Call& call,
                 const Block& block, int kv_head, float* scratch)
      : kernels_(kernels),
        call_(call),
        block_(block),
        kv_head_(kv_head),
        rows_(block.tokens * call.group()),
        first_position_(batch.positions[block.first]),
        pages_(batch.pages.data() + batch.page_starts[block.sequence]),
        work_(scratch, call, rows_) {
    for (const CacheRows& part : call.store->keys()) packs_any_ |= Packs(part);
  }

  int rows() const { return rows_; }
  // Spans [0, Spans()) hold all positions that the block sees; those before FirstSpan() hold none.
  int Spans() const { return CeilDiv(first_position_ + block_.tokens, kSpanTokens); }
  int FirstSpan() const { return SeenFrom(0) / kSpanTokens; }

  void GatherQuery() {
    float* to = work_.query;
    for (int r = 0; r < rows_; ++r) {
      const int64_t token = block_.first + r / call_.group();
      const int64_t head = kv_head_ * call_.group() + r % call_.group();
      for (const QueryPart& part : call_.query) {
        const float* from = part.data + token * part.token_stride + head * part.head_stride;
        to = std::copy_n(from, part.dim, to);
      }
    }
    const float* from = work_.query;
    std::byte* packed = static_cast<std::byte*>(work_.packed);
    call_.ForEachKeyPart([&](const CacheRows& part, int64_t cols) {
      if (Packs(part) && part.dtype == DType::kI8) {
        kernels_.pack_int8_rows(from, call_.key_dim, rows_, cols, part.group, packed);
      } else if (Packs(part)) {
        kernels_.pack_rows(from, call_.key_dim, rows_, cols, packed);
      }
      from += cols;
      packed += PackedPartBytes(part, rows_, cols);
    });
  }

  // Sums of one span, into the given buffers: state and [rows, value_dim].
  void RunSpan(int span, SoftmaxState* state, float* sums) {
    std::fill_n(state, rows_, SoftmaxState{kNone, 0.0f});
    std::fill_n(sums, rows_ * call_.value_dim, 0.0f);
    const int end = std::min((span + 1) * kSpanTokens, first_position_ + block_.tokens);
    for (int base = span * kSpanTokens; base < end; base += kPageTokens) {
      RunTile(base, state, sums);
    }
  }

  void ClearTotal() {
    std::fill_n(work_.state, rows_, SoftmaxState{kNone, 0.0f});
    std::fill_n(work_.sums, rows_ * call_.value_dim, 0.0f);
  }

  // Adds a span's sums to the total. Spans must come in order.
  void Merge(const SoftmaxState* state, const float* sums) {
    for (int r = 0; r < rows_; ++r) {
      if (state[r].sum == 0.0f) continue;  // the row saw nothing of the span
      SoftmaxState& total = work_.state[r];
      const float max = std::max(total.max, state[r].max);
      const float base = max == kNone ? 0.0f : max;
      // One of the two is exp(0).
      const auto weight = [&](float score) {
        return score == base ? 1.0f : std::exp(SoftmaxScale() * (score - base));
      };
      const float a = weight(total.max);
      const float b = weight(state[r].max);
      total = {max, total.sum * a + state[r].sum * b};
      kernels_.add_scaled(a, b, sums + r * call_.value_dim, call_.value_dim,
                          work_.sums + r * call_.value_dim);
    }
  }

  void WriteOut() {
    for (int r = 0; r < rows_; ++r) {
      const int64_t token = block_.first + r / call_.group();
      const int64_t head = kv_head_ * call_.group() + r % call_.group();
      float* out = call_.out + (token * call_.heads + head) * call_.value_dim;
      const float* sums = work_.sums + r * call_.value_dim;
      const float total = work_.state[r].sum;
      // Scores that are all -∞ weigh nothing.
      const float factor = total == 0.0f ? 0.0f : 1.0f / total;
      for (int64_t c = 0; c < call_.value_dim; ++c) out[c] = sums[c] * factor;
    }
  }

  const Workspace& work() const { return work_; }

 private:
  // First position that the block's token t sees.
  int SeenFrom(int t) const {
    return call_.window == 0 ? 0 : std::max(0, first_position_ + t - call_.window + 1);
  }

  // This layer's part of a page, and of the page after it, if this block sees that.
  struct Pages {
    const std::byte* page;
    const std::byte* next;
  };
  Pages PagesAt(int base) const {
    const PageId* at = pages_ + base / kPageTokens;
    const bool last = base + kPageTokens >= first_position_ + block_.tokens;
    return {call_.store->At(at[0], call_.layer),
            last ? nullptr : call_.store->At(at[1], call_.layer)};
  }

  // Columns [first, first + cols) of a page's rows.
  static CacheTile Tile(const CacheRows& rows, const Pages& pages, int64_t first, int64_t cols) {
    const auto [page, next] = pages;
    const int64_t offset = rows.offset + RowBytes(rows.dtype, first);
    CacheTile tile;
    tile.dtype = rows.dtype;
    tile.data = page + offset;
    if (next != nullptr) tile.next = next + offset;
    tile.stride = rows.row_bytes();
    tile.cols = static_cast<int>(cols);
    if (rows.dtype == DType::kI8) {
      tile.group = rows.group;
      tile.scales = reinterpret_cast<const float*>(page + rows.scales_offset) + first / rows.group;
      tile.scales_stride = rows.groups();
    }
    return tile;
  }

  // Whether packed queries meet these keys.
  bool Packs(const CacheRows& part) const {
    if (part.dtype == DType::kI8) return kernels_.pack_int8_rows != nullptr;
    return part.dtype == DType::kBF16 && kernels_.pack_rows != nullptr;
  }

  // Whether `rows` rows sum values as the cache holds them, rather than decoded once for all.
  bool SumsInPlace(DType dtype, int rows) const {
    return dtype == DType::kF32 || rows <= kDirectRows ||
           (dtype == DType::kBF16 && kernels_.dot_bf16 != nullptr) ||
           (dtype == DType::kI8 && kernels_.pack_int8_rows != nullptr);
  }

  // How many bytes of each of a part's keys the sums will bring in, if they are values too: all but
  // what the last line shares with other columns. Sums read what is in the processor's cache
  // already, so memory has time then that it has not while scores wait for it.
  int64_t BytesFetchedBySums(const CacheRows& part, int rows) const {
    const bool fetched =
        call_.values_in_keys && &part == &call_.store->keys()[0] && SumsInPlace(part.dtype, rows);
    return fetched ? RowBytes(part.dtype, call_.value_dim) / kLineBytes * kLineBytes : 0;
  }

  // Products of all keys of a page with rows [begin, end) of the queries, or, if any are packed,
  // with all of them, into work_.scores.
  void Scores(const Pages& pages, int tokens, int begin, int end) const {
    const int summed_rows = end - begin;
    if (packs_any_) {
      begin = 0;
      end = rows_;
    }
    ScoresArgs scores;
    const std::byte* packed = static_cast<const std::byte*>(work_.packed);
    scores.q = work_.query + begin * call_.key_dim;
    scores.q_stride = call_.key_dim;
    scores.rows = end - begin;
    scores.tokens = tokens;
    scores.out = work_.scores + int64_t{begin} * kPageTokens;
    call_.ForEachKeyPart([&](const CacheRows& rows, int64_t cols) {
      scores.keys = Tile(rows, pages, kv_head_ * cols, cols);
      scores.keys.next_byte = BytesFetchedBySums(rows, summed_rows);
      scores.packed = packed;
      kernels_.scores(scores);
      scores.q += cols;
      packed += PackedPartBytes(rows, rows_, cols);
      scores.accumulate = true;
    });
  }

  // This head's values: those of the cache, or, for many rows, decoded once for all.
  CacheTile Values(const Pages& pages, int tokens, int rows) const {
    const CacheRows& cached = call_.values_in_keys ? call_.store->keys()[0] : call_.store->values();
    CacheTile tile = Tile(cached, pages, kv_head_ * call_.value_dim, call_.value_dim);
    if (SumsInPlace(tile.dtype, rows)) return tile;
    kernels_.decode_tile(tile, tokens, work_.values, call_.value_dim);
    return {.data = work_.values,
            .stride = call_.value_dim * static_cast<int64_t>(sizeof(float)),
            .cols = tile.cols};
  }

  // By what softmax multiplies scores: a cap's are multiplied before.
  float SoftmaxScale() const { return call_.soft_cap == 0.0f ? call_.scale : 1.0f; }

  // Products of a block's token t and keys [from, to) of a tile → weights and work_.alpha.
  void Softmax(int t, int from, int to, SoftmaxState* state) const {
    const int row = t * call_.group();
    SoftmaxArgs args;
    args.scores = work_.scores + int64_t{row} * kPageTokens;
    args.rows = call_.group();
    args.begin = from;
    args.end = to;
    args.scale = SoftmaxScale();
    args.state = state + row;
    args.alpha = work_.alpha + row;
    if (call_.soft_cap != 0.0f) {
      for (int r = 0; r < args.rows; ++r) {
        kernels_.soft_cap(call_.scale, call_.soft_cap, to - from,
                          args.scores + r * kPageTokens + from);
      }
    }
    kernels_.softmax_tile(args);
  }

  // Takes in cached positions [base, base + kPageTokens) as far as each row sees them.
  void RunTile(int base, SoftmaxState* state, float* sums) {
    // The tokens that see anything of the tile.
    const int begin = std::max(0, base - first_position_);
    int end = block_.tokens;
    if (call_.window != 0) {
      end =
          std::min<int64_t>(end, int64_t{base} + kPageTokens - 1 + call_.window - first_position_);
    }
    if (begin >= end) return;
    const int tokens = std::min(kPageTokens, first_position_ + end - base);  // cached
    const Pages pages = PagesAt(base);
    const int group = call_.group();
    Scores(pages, tokens, begin * group, end * group);

    // What a row does not see weighs 0, so that all rows sum what any of them sees.
    WeightedSumArgs sum;
    sum.begin = kPageTokens;
    for (int t = begin; t < end; ++t) {
      const int from = std::max(0, SeenFrom(t) - base);
      const int to = std::min(kPageTokens, first_position_ + t + 1 - base);
      sum.begin = std::min(sum.begin, from);
      sum.end = std::max(sum.end, to);
      Softmax(t, from, to, state);
    }
    sum.p = work_.scores + int64_t{begin} * group * kPageTokens;
    sum.p_stride = kPageTokens;
    sum.rows = (end - begin) * group;
    sum.v = Values(pages, tokens, sum.rows);
    sum.alpha = work_.alpha + begin * group;
    sum.o = sums + begin * group * call_.value_dim;
    sum.o_stride = call_.value_dim;
    kernels_.weighted_sum(sum);
  }

  const Kernels& kernels_;
  const Call& call_;
  const Block block_;
  const int kv_head_;
  const int rows_;
  const int first_position_;
  const PageId* pages_;
  Workspace work_;
  bool packs_any_ = false;  // of the parts of keys
};

// Blocks of a step, counted without keeping them: block i of the step in order of tokens.
class Blocks {
 public:
  Blocks(const RaggedBatch& batch, int block_tokens) : batch_(batch), block_tokens_(block_tokens) {
    for (int s = 0; s < batch.sequences(); ++s) {
      count_ += Count(s);
      most_spans_ = std::max(most_spans_,
                             batch.positions[batch.sequence_starts[s + 1] - 1] / kSpanTokens + 1);
    }
  }
  int count() const { return count_; }
  int most_spans() const { return most_spans_; }

  Block At(int i) const {
    for (int s = 0;; ++s) {
      const int n = Count(s);
      if (i >= n) {
        i -= n;
        continue;
      }
      const int first = batch_.sequence_starts[s] + i * block_tokens_;
      return {s, first, std::min(block_tokens_, batch_.sequence_starts[s + 1] - first)};
    }
  }

 private:
  int Count(int s) const {
    return CeilDiv(batch_.sequence_starts[s + 1] - batch_.sequence_starts[s], block_tokens_);
  }
  const RaggedBatch& batch_;
  const int block_tokens_;
  int count_ = 0;
  int most_spans_ = 0;
};

// Each task runs all spans of a block and head.
void RunWhole(CpuContext& context, const RaggedBatch& batch, const Call& call,
              const Blocks& blocks) {
  const int64_t tasks = int64_t{blocks.count()} * call.kv_heads;
  context.pool->ParallelFor(tasks, [&](int64_t task, int worker) {
    // Last blocks first: they see most, and a long task at the end would leave threads idle.
    const int64_t from_end = tasks - 1 - task;
    const Block block = blocks.At(static_cast<int>(from_end / call.kv_heads));
    BlockAttention attention(*context.kernels, batch, call, block,
                             static_cast<int>(from_end % call.kv_heads), context.Scratch(worker));
    attention.GatherQuery();
    attention.ClearTotal();
    const KernelScope scope(*context.kernels);
    const Workspace& work = attention.work();
    for (int span = attention.FirstSpan(); span < attention.Spans(); ++span) {
      attention.RunSpan(span, work.span_state, work.span_sums);
      attention.Merge(work.span_state, work.span_sums);
    }
    attention.WriteOut();
  });
}

// Tasks of RunSpans for each thread: so many that the last ones end at about the same time.
constexpr int kTasksPerThread = 8;

// Each task runs some spans of a block and head, and a second round merges: for few queries over a
// long context. The sums are those of RunWhole.
void RunSpans(CpuContext& context, const RaggedBatch& batch, const Call& call,
              const Blocks& blocks) {
  const int spans = blocks.most_spans();
  const int64_t max_rows = int64_t{call.block_tokens()} * call.group();
  const int64_t state_floats = 2 * max_rows;
  const int64_t part_floats = state_floats + max_rows * call.value_dim;
  float* const partials = reinterpret_cast<float*>(context.partials.data());
  const int64_t units = int64_t{blocks.count()} * call.kv_heads;
  const auto attend = [&](int64_t unit, int worker) {
    return BlockAttention(*context.kernels, batch, call,
                          blocks.At(static_cast<int>(unit / call.kv_heads)),
                          static_cast<int>(unit % call.kv_heads), context.Scratch(worker));
  };
  // Runs as long as leaves enough tasks: within one, each tile fetches the next.
  const int run = static_cast<int>(
      std::clamp<int64_t>(units * spans / (kTasksPerThread * context.pool->threads()), 1, spans));
  const int runs = CeilDiv(spans, run);
  // The heads of a run are neighbours, as they are in memory.
  context.pool->ParallelFor(units * runs, [&](int64_t task, int worker) {
    const int64_t block_and_run = task / call.kv_heads;
    const int64_t unit = block_and_run / runs * call.kv_heads + task % call.kv_heads;
    const int first = static_cast<int>(block_and_run % runs) * run;
    BlockAttention attention = attend(unit, worker);
    attention.GatherQuery();
    const KernelScope scope(*context.kernels);
    const int end = std::min(first + run, attention.Spans());
    for (int span = std::max(first, attention.FirstSpan()); span < end; ++span) {
      float* part = partials + (unit * spans + span) * part_floats;
      attention.RunSpan(span, reinterpret_cast<SoftmaxState*>(part), part + state_floats);
    }
  });
  context.pool->ParallelFor(units, [&](int64_t unit, int worker) {
    BlockAttention attention = attend(unit, worker);
    attention.ClearTotal();
    for (int span = attention.FirstSpan(); span < attention.Spans(); ++span) {
      const float* part = partials + (unit * spans + span) * part_floats;
      attention.Merge(reinterpret_cast<const SoftmaxState*>(part), part + state_floats);
    }
    attention.WriteOut();
  });
}

absl::Status Run(CpuContext& context, const RaggedBatch& batch, const Call& call) {
  const int64_t needed = call.WorkspaceFloats() * static_cast<int64_t>(sizeof(float));
  if (needed > CpuContext::kScratchBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention of ", call.heads, " heads over rows of ", call.key_dim, " and ", call.value_dim,
        " elements needs ", needed, " bytes a thread, the limit is ", CpuContext::kScratchBytes));
  }
  const Blocks blocks(batch, call.block_tokens());
  const int64_t units = int64_t{blocks.count()} * call.kv_heads;
  const int64_t rows = int64_t{call.block_tokens()} * call.group();
  const int64_t partial_bytes = units * blocks.most_spans() * rows * (call.value_dim + 2) *
                                static_cast<int64_t>(sizeof(float));
  const bool few = units < kTasksPerThread * context.pool->threads() && context.pool->threads() > 1;
  if (few && blocks.most_spans() > 1 && partial_bytes <= CpuContext::kPartialBytes) {
    RunSpans(context, batch, call, blocks);
  } else {
    RunWhole(context, batch, call, blocks);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status GqaAttention(CpuContext& context, const RaggedBatch& batch,
                          const GqaAttentionArgs& args) {
  const CpuKvStore& store = static_cast<const CpuKvStore&>(*args.store);
  const int64_t dim = args.q.shape[2];
  Call call;
  call.store = &store;
  call.layer = args.layer;
  call.heads = static_cast<int>(args.q.shape[1]);
  call.kv_heads = static_cast<int>(store.layout().first_dim / dim);
  call.query[0] = {args.q.as<float>(), call.heads * dim, dim, dim};
  call.key_dim = dim;
  call.value_dim = dim;
  call.scale = args.scale;
  call.soft_cap = args.soft_cap;
  call.window = args.sliding_window;
  call.out = args.out.as<float>();
  return Run(context, batch, call);
}

absl::Status MlaAttention(CpuContext& context, const RaggedBatch& batch,
                          const MlaAttentionArgs& args) {
  const CpuKvStore& store = static_cast<const CpuKvStore&>(*args.store);
  const int64_t rank = store.layout().first_dim;
  const int64_t rope = store.layout().second_dim;
  const int64_t width = args.q.shape[2];
  Call call;
  call.store = &store;
  call.layer = args.layer;
  call.heads = static_cast<int>(args.q.shape[1]);
  call.kv_heads = 1;
  call.query[0] = {args.q_latent.as<float>(), call.heads * rank, rank, rank};
  call.query[1] = {args.q.as<float>() + width - rope, call.heads * width, width, rope};
  call.key_dim = rank + rope;
  call.value_dim = rank;
  call.values_in_keys = true;
  call.scale = args.scale;
  call.soft_cap = args.soft_cap;
  call.window = args.sliding_window;
  call.out = args.out.as<float>();
  return Run(context, batch, call);
}

}  // namespace transmla::cpu
