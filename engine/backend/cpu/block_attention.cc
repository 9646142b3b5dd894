#include "engine/backend/cpu/block_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"

#include "engine/backend/cpu/cache_line.h"
#include "engine/backend/cpu/context.h"
#include "engine/base/checked_math.h"

namespace transmla::cpu {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

// Query rows (tokens times heads of a group) that a block aims at: enough to pay for reading and
// decoding a tile, few enough that their sums stay in the second-level cache.
constexpr int kTargetRows = 64;

// Up to so many rows, values are decoded in registers, for each group of rows anew.
constexpr int kDirectRows = 40;

// Room for `rows` packed rows that meet `cols` columns of a part of the keys; a multiple of 64.
int64_t PackedPartBytes(const CacheRows& part, int rows, int64_t cols) {
  return part.dtype == DType::kI8 ? PackedInt8Bytes(rows, cols, part.group)
                                  : PackedBytes(rows, cols);
}

}  // namespace

int AttentionCall::block_tokens() const { return std::max(1, kTargetRows / group()); }

int64_t AttentionCall::WorkspaceFloats() const {
  const int64_t rows = int64_t{block_tokens()} * group();
  return rows * (key_dim + kPageTokens + 2 * value_dim + 5) + kPageTokens * value_dim +
         PackedFloats(static_cast<int>(rows));
}

absl::Status AttentionCall::CheckWorkspace() const {
  const int64_t needed = WorkspaceFloats() * static_cast<int64_t>(sizeof(float));
  if (needed <= CpuContext::kScratchBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "attention of ", heads, " heads over rows of ", key_dim, " and ", value_dim,
      " elements needs ", needed, " bytes a thread, the limit is ", CpuContext::kScratchBytes));
}

int64_t AttentionCall::PackedFloats(int rows) const {
  int64_t bytes = 0;
  ForEachKeyPart(
      [&](const CacheRows& part, int64_t cols) { bytes += PackedPartBytes(part, rows, cols); });
  return bytes / static_cast<int64_t>(sizeof(float));
}

CacheTile TileOf(const CacheRows& rows, const std::byte* page, int64_t first, int64_t cols) {
  CacheTile tile;
  tile.dtype = rows.dtype;
  tile.data = page + rows.offset + RowBytes(rows.dtype, first);
  tile.stride = rows.row_bytes();
  tile.cols = static_cast<int>(cols);
  if (rows.dtype == DType::kI8) {
    tile.group = rows.group;
    tile.scales = reinterpret_cast<const float*>(page + rows.scales_offset) + first / rows.group;
    tile.scales_stride = rows.groups();
  }
  return tile;
}

AttentionWorkspace::AttentionWorkspace(float* at, const AttentionCall& call, int rows) {
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

BlockAttention::BlockAttention(const Kernels& kernels, const AttentionCall& call,
                               const QueryBlock& block, int kv_head, float* scratch)
    : kernels_(kernels),
      call_(call),
      block_(block),
      kv_head_(kv_head),
      rows_(block.tokens * call.group()),
      work_(scratch, call, rows_) {
  for (const CacheRows& part : call.store->keys()) packs_any_ |= Packs(part);
}

int BlockAttention::Spans() const { return CeilDiv(block_.end_position(), kSpanTokens); }

int BlockAttention::FirstSpan() const { return SeenFrom(0) / kSpanTokens; }

void BlockAttention::GatherQuery() {
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

void BlockAttention::RunSpan(int span, SoftmaxState* state, float* sums) {
  std::fill_n(state, rows_, SoftmaxState{kNone, 0.0f});
  std::fill_n(sums, rows_ * call_.value_dim, 0.0f);
  const int end = std::min((span + 1) * kSpanTokens, block_.end_position());
  for (int base = span * kSpanTokens; base < end; base += kPageTokens) {
    RunTile(base, state, sums);
  }
}

void BlockAttention::ClearTotal() {
  std::fill_n(work_.state, rows_, SoftmaxState{kNone, 0.0f});
  std::fill_n(work_.sums, rows_ * call_.value_dim, 0.0f);
}

void BlockAttention::AddSpans(int first, int end) {
  for (int span = std::max(first, FirstSpan()); span < std::min(end, Spans()); ++span) {
    RunSpan(span, work_.span_state, work_.span_sums);
    Merge(work_.span_state, work_.span_sums);
  }
}

void BlockAttention::Merge(const SoftmaxState* state, const float* sums) {
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

void BlockAttention::SaveTotal(SoftmaxState* states) const {
  std::copy_n(work_.state, rows_, states);
  for (int r = 0; r < rows_; ++r) {
    std::copy_n(work_.sums + r * call_.value_dim, call_.value_dim,
                call_.out + OutRow(r) * call_.value_dim);
  }
}

void BlockAttention::RestoreTotal(const SoftmaxState* states) {
  std::copy_n(states, rows_, work_.state);
  for (int r = 0; r < rows_; ++r) {
    std::copy_n(call_.out + OutRow(r) * call_.value_dim, call_.value_dim,
                work_.sums + r * call_.value_dim);
  }
}

void BlockAttention::WriteOut() const {
  for (int r = 0; r < rows_; ++r) {
    float* out = call_.out + OutRow(r) * call_.value_dim;
    const float* sums = work_.sums + r * call_.value_dim;
    const float total = work_.state[r].sum;
    // Scores that are all -∞ weigh nothing.
    const float factor = total == 0.0f ? 0.0f : 1.0f / total;
    for (int64_t c = 0; c < call_.value_dim; ++c) out[c] = sums[c] * factor;
  }
}

int64_t BlockAttention::OutRow(int r) const {
  const int64_t token = block_.first + r / call_.group();
  return token * call_.heads + kv_head_ * call_.group() + r % call_.group();
}

int BlockAttention::SeenFrom(int t) const {
  return call_.window == 0 ? 0 : std::max(0, block_.first_position + t - call_.window + 1);
}

BlockAttention::Pages BlockAttention::PagesAt(int base) const {
  const PageId* at = block_.pages + base / kPageTokens;
  const bool last = base + kPageTokens >= block_.end_position();
  return {call_.store->At(at[0], Layer()), last ? nullptr : call_.store->At(at[1], Layer())};
}

CacheTile BlockAttention::Tile(const CacheRows& rows, const Pages& pages, int64_t first,
                               int64_t cols) {
  CacheTile tile = TileOf(rows, pages.page, first, cols);
  if (pages.next != nullptr) {
    tile.next = pages.next + (static_cast<const std::byte*>(tile.data) - pages.page);
  }
  return tile;
}

bool BlockAttention::Packs(const CacheRows& part) const {
  if (part.dtype == DType::kI8) return kernels_.pack_int8_rows != nullptr;
  return part.dtype == DType::kBF16 && kernels_.pack_rows != nullptr;
}

bool BlockAttention::SumsInPlace(DType dtype, int rows) const {
  return dtype == DType::kF32 || rows <= kDirectRows ||
         (dtype == DType::kBF16 && kernels_.dot_bf16 != nullptr) ||
         (dtype == DType::kI8 && kernels_.pack_int8_rows != nullptr);
}

// How many bytes of each of a part's keys the sums will bring in, if they are values too: all but
// what the last line shares with other columns. Sums read what is in the processor's cache already,
// so memory has time then that it has not while scores wait for it.
int64_t BlockAttention::BytesFetchedBySums(const CacheRows& part, int rows) const {
  const bool fetched =
      call_.values_in_keys && &part == &call_.store->keys()[0] && SumsInPlace(part.dtype, rows);
  return fetched ? RowBytes(part.dtype, call_.value_dim) / kLineBytes * kLineBytes : 0;
}

void BlockAttention::Scores(const Pages& pages, int tokens, int begin, int end) const {
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
    scores.keys = Tile(rows, pages, FirstColumn(cols), cols);
    scores.keys.next_byte = BytesFetchedBySums(rows, summed_rows);
    scores.packed = packed;
    kernels_.scores(scores);
    scores.q += cols;
    packed += PackedPartBytes(rows, rows_, cols);
    scores.accumulate = true;
  });
}

CacheTile BlockAttention::Values(const Pages& pages, int tokens, int rows) const {
  const CacheRows& cached = call_.values_in_keys ? call_.store->keys()[0] : call_.store->values();
  CacheTile tile = Tile(cached, pages, FirstColumn(call_.value_dim), call_.value_dim);
  if (SumsInPlace(tile.dtype, rows)) return tile;
  kernels_.decode_tile(tile, tokens, work_.values, call_.value_dim);
  return {.data = work_.values,
          .stride = call_.value_dim * static_cast<int64_t>(sizeof(float)),
          .cols = tile.cols};
}

void BlockAttention::Softmax(int t, int from, int to, SoftmaxState* state) const {
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

void BlockAttention::RunTile(int base, SoftmaxState* state, float* sums) {
  // The tokens that see anything of the tile.
  const int begin = std::max(0, base - block_.first_position);
  int end = block_.tokens;
  if (call_.window != 0) {
    end = std::min<int64_t>(end,
                            int64_t{base} + kPageTokens - 1 + call_.window - block_.first_position);
  }
  if (begin >= end) return;
  const int tokens = std::min(kPageTokens, block_.first_position + end - base);  // cached
  const Pages pages = PagesAt(base);
  const int group = call_.group();
  Scores(pages, tokens, begin * group, end * group);

  // What a row does not see weighs 0, so that all rows sum what any of them sees.
  WeightedSumArgs sum;
  sum.begin = kPageTokens;
  for (int t = begin; t < end; ++t) {
    const int from = std::max(0, SeenFrom(t) - base);
    const int to = std::min(kPageTokens, block_.first_position + t + 1 - base);
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

}  // namespace transmla::cpu
