// BlockAttention: softmax attention of a few query tokens of one sequence, and the query heads that
// share one key/value head, over a cache's pages. What every form of attention (attention.h,
// mla_expanded_attention.h) is made of.
//
// Order of sums: tiles of kPageTokens positions in order within spans of kSpanTokens, each span
// with an online softmax (arXiv 1805.02867) of its own, and spans merged in order. Spans start at
// multiples of kSpanTokens, so a token's result depends on its sequence alone: neither on the
// tokens it shares a block with, nor on who runs which span.
//
// Few rows read the cache as it is, many have its values decoded once for all of them; the bits are
// the same.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_BLOCK_ATTENTION_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_BLOCK_ATTENTION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

#include "engine/backend/cpu/cpu_kv_store.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/base/page.h"

namespace transmla::cpu {

// Positions of a span.
inline constexpr int kSpanTokens = 256;
static_assert(kSpanTokens % kPageTokens == 0);

// Part of the queries' rows: `dim` floats of each head.
struct QueryPart {
  const float* data = nullptr;
  int64_t token_stride = 0;
  int64_t head_stride = 0;
  int64_t dim = 0;
};

// One call of an attention operation, with all kinds made alike.
struct AttentionCall {
  const CpuKvStore* store = nullptr;
  int layer = 0;
  int heads = 0;
  int kv_heads = 0;             // 1 for MLA
  QueryPart query[2];           // concatenated they face a row of keys
  int64_t key_dim = 0;          // of one key/value head
  int64_t value_dim = 0;        // of one key/value head
  bool values_in_keys = false;  // MLA: values are the keys' first value_dim columns
  bool head_layers = false;     // each key/value head has a layer of the store, from `layer` on
  float scale = 0.0f;
  float soft_cap = 0.0f;  // 0: none
  int window = 0;         // 0: all
  float* out = nullptr;   // [tokens, heads, value_dim]

  // With what the arguments of all attention operations have in common.
  template <typename Args>
  static AttentionCall Of(const Args& args) {
    AttentionCall call;
    call.heads = static_cast<int>(args.q.shape[1]);
    call.scale = args.scale;
    call.soft_cap = args.soft_cap;
    call.window = args.sliding_window;
    call.out = args.out.template as<float>();
    return call;
  }

  int group() const { return heads / kv_heads; }
  // Tokens of a block at most.
  int block_tokens() const;
  // Floats of a worker's workspace. InvalidArgument if CpuContext::kScratchBytes does not hold it.
  int64_t WorkspaceFloats() const;
  absl::Status CheckWorkspace() const;
  // Calls fn(rows of the cache, columns of one key) for each part of a key. Only rows that all
  // heads share are in several.
  template <typename Fn>
  void ForEachKeyPart(Fn&& fn) const {
    const absl::Span<const CacheRows> parts = store->keys();
    for (const CacheRows& rows : parts) fn(rows, parts.size() == 1 ? key_dim : rows.dim);
  }
  // Room for the packed queries of `rows` rows.
  int64_t PackedFloats(int rows) const;
};

// Columns [first, first + cols) of rows in a layer's part of a page. REQUIRES: `first` begins a
// group.
CacheTile TileOf(const CacheRows& rows, const std::byte* page, int64_t first, int64_t cols);

// Consecutive query tokens of one sequence.
struct QueryBlock {
  int first = 0;  // token of the step
  int tokens = 0;
  int first_position = 0;
  const PageId* pages = nullptr;  // of the sequence

  int end_position() const { return first_position + tokens; }
};

// A worker's buffers; row r is head r % group of the block's token r / group.
struct AttentionWorkspace {
  void* packed;              // AttentionCall::PackedFloats(rows)
  float* query;              // [rows, key_dim]
  float* values;             // [kPageTokens, value_dim]
  float* scores;             // [rows, kPageTokens]
  float* alpha;              // [rows]
  float* span_sums;          // [rows, value_dim]
  float* sums;               // [rows, value_dim]
  SoftmaxState* span_state;  // [rows]
  SoftmaxState* state;       // [rows]

  // Laid out from `at` on, AttentionCall::WorkspaceFloats().
  AttentionWorkspace(float* at, const AttentionCall& call, int rows);
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

// Of one block and one key/value head. Thread-compatible; everything it is made with must outlive
// it.
class BlockAttention {
 public:
  // `scratch` has call.WorkspaceFloats() floats.
  BlockAttention(const Kernels& kernels, const AttentionCall& call, const QueryBlock& block,
                 int kv_head, float* scratch);

  // Spans [0, Spans()) hold all positions that the block sees; those before FirstSpan() hold none.
  int Spans() const;
  int FirstSpan() const;

  // Reads the queries. REQUIRES: before RunSpan.
  void GatherQuery();
  // Sums of one span, into the given buffers: state and [rows, value_dim]. REQUIRES: a KernelScope.
  void RunSpan(int span, SoftmaxState* state, float* sums);

  // Begins the total over spans.
  void ClearTotal();
  // Adds those of spans [first, end) that the block sees anything of. REQUIRES: a KernelScope.
  void AddSpans(int first, int end);
  // Adds a span's sums. Spans must come in order.
  void Merge(const SoftmaxState* state, const float* sums);
  // Puts the total away, its sums in the place of the result, and takes it back: for a context that
  // is gone through in parts. `states` is [rows], as many as the block's tokens times the group.
  void SaveTotal(SoftmaxState* states) const;
  void RestoreTotal(const SoftmaxState* states);
  // Sums over weights → call.out.
  void WriteOut() const;

 private:
  // This layer's part of a page, and of the page after it, if this block sees that.
  struct Pages {
    const std::byte* page;
    const std::byte* next;
  };
  // Where, in units of rows, row r's results are in call.out.
  int64_t OutRow(int r) const;
  // This head's layer of the store, and its first column there of `dim` a head.
  int Layer() const { return call_.layer + (call_.head_layers ? kv_head_ : 0); }
  int64_t FirstColumn(int64_t dim) const { return call_.head_layers ? 0 : kv_head_ * dim; }
  // First position that the block's token t sees.
  int SeenFrom(int t) const;
  Pages PagesAt(int base) const;
  // As TileOf, and where the next is.
  static CacheTile Tile(const CacheRows& rows, const Pages& pages, int64_t first, int64_t cols);
  // Whether packed queries meet these keys.
  bool Packs(const CacheRows& part) const;
  // Whether `rows` rows sum values as the cache holds them, rather than decoded once for all.
  bool SumsInPlace(DType dtype, int rows) const;
  int64_t BytesFetchedBySums(const CacheRows& part, int rows) const;
  // Products of all keys of a page with rows [begin, end) of the queries, or, if any are packed,
  // with all of them, into work_.scores.
  void Scores(const Pages& pages, int tokens, int begin, int end) const;
  // This head's values: those of the cache, or, for many rows, decoded once for all.
  CacheTile Values(const Pages& pages, int tokens, int rows) const;
  // By what softmax multiplies scores: a cap's are multiplied before.
  float SoftmaxScale() const { return call_.soft_cap == 0.0f ? call_.scale : 1.0f; }
  // Products of the block's token t and keys [from, to) of a tile → weights and work_.alpha.
  void Softmax(int t, int from, int to, SoftmaxState* state) const;
  // Takes in cached positions [base, base + kPageTokens) as far as each row sees them.
  void RunTile(int base, SoftmaxState* state, float* sums);

  const Kernels& kernels_;
  const AttentionCall& call_;
  const QueryBlock block_;
  const int kv_head_;
  const int rows_;
  AttentionWorkspace work_;
  bool packs_any_ = false;  // of the parts of keys
};

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_BLOCK_ATTENTION_H_
