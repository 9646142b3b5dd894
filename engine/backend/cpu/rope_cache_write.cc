#include "engine/backend/cpu/rope_cache_write.h"

#include <algorithm>
#include <cmath>

#include "absl/algorithm/container.h"

#include "engine/backend/cpu/cpu_kv_store.h"
#include "engine/backend/cpu/weight.h"
#include "engine/base/checked_math.h"

namespace transmla::cpu {
namespace {

// Tokens of a task.
constexpr int64_t kTaskTokens = 8;

// Calls fn(sequence, token) for every token of the step, in parallel.
template <typename Fn>
void ForEachToken(CpuContext& context, const RaggedBatch& batch, Fn&& fn) {
  const int64_t tokens = batch.tokens();
  context.pool->ParallelFor(CeilDiv(tokens, kTaskTokens), [&](int64_t task, int) {
    const int64_t begin = task * kTaskTokens;
    const int64_t end = std::min(begin + kTaskTokens, tokens);
    int sequence = static_cast<int>(absl::c_upper_bound(batch.sequence_starts, begin) -
                                    batch.sequence_starts.begin()) -
                   1;
    for (int64_t t = begin; t < end; ++t) {
      if (t == batch.sequence_starts[sequence + 1]) ++sequence;
      fn(sequence, t);
    }
  });
}

// A layer's part of the page that holds the position.
std::byte* PageOf(CpuKvStore& store, int layer, const RaggedBatch& batch, int sequence,
                  int position) {
  return store.At(batch.pages[batch.page_starts[sequence] + position / kPageTokens], layer);
}

}  // namespace

void RopeTable::Reserve(int64_t tokens, int64_t pairs) {
  frequencies_.reserve(pairs);
  cosines_.reserve(tokens * pairs);
  sines_.reserve(tokens * pairs);
}

void RopeTable::Fill(CpuContext& context, const RaggedBatch& batch, const PackedWeight& inv_freq,
                     float magnitude) {
  const int64_t pairs = inv_freq.shape()[0];
  const float* frequencies = AsCpu(inv_freq).vector();
  if (pairs == pairs_ && magnitude == magnitude_ &&
      std::equal(frequencies, frequencies + pairs, frequencies_.begin())) {
    return;
  }
  pairs_ = pairs;
  magnitude_ = magnitude;
  frequencies_.assign(frequencies, frequencies + pairs);
  cosines_.resize(batch.tokens() * pairs);
  sines_.resize(batch.tokens() * pairs);
  ForEachToken(context, batch, [&](int, int64_t t) {
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle = batch.positions[t] * double{frequencies[i]};
      cosines_[t * pairs + i] = static_cast<float>(std::cos(angle) * magnitude);
      sines_[t * pairs + i] = static_cast<float>(std::sin(angle) * magnitude);
    }
  });
}

void RopeTable::Rotate(int64_t t, float* head) const {
  const float* cosine = cosines_.data() + t * pairs_;
  const float* sine = sines_.data() + t * pairs_;
  for (int64_t i = 0; i < pairs_; ++i) {
    const float a = head[i];
    const float b = head[i + pairs_];
    head[i] = a * cosine[i] - b * sine[i];
    head[i + pairs_] = b * cosine[i] + a * sine[i];
  }
}

void GqaCacheWrite(CpuContext& context, const RaggedBatch& batch, RopeTable& table,
                   const GqaCacheWriteArgs& args) {
  table.Fill(context, batch, *args.inv_freq, args.magnitude);
  CpuKvStore& store = static_cast<CpuKvStore&>(*args.store);
  const int64_t heads = args.q.shape[1];
  const int64_t kv_heads = args.k.shape[1];
  const int64_t dim = args.k.shape[2];
  ForEachToken(context, batch, [&](int sequence, int64_t t) {
    float* q = args.q.as<float>() + t * heads * dim;
    float* k = args.k.as<float>() + t * kv_heads * dim;
    for (int64_t h = 0; h < heads; ++h) table.Rotate(t, q + h * dim);
    for (int64_t g = 0; g < kv_heads; ++g) table.Rotate(t, k + g * dim);
    const int position = batch.positions[t];
    std::byte* page = PageOf(store, args.layer, batch, sequence, position);
    const int slot = position % kPageTokens;
    StoreRow(store.keys()[0], k, page, slot);
    StoreRow(store.values(), args.v.as<float>() + t * kv_heads * dim, page, slot);
  });
}

void MlaCacheWrite(CpuContext& context, const RaggedBatch& batch, RopeTable& table,
                   const MlaCacheWriteArgs& args) {
  table.Fill(context, batch, *args.inv_freq, args.magnitude);
  CpuKvStore& store = static_cast<CpuKvStore&>(*args.store);
  const KvLayout& layout = store.layout();
  const int64_t heads = args.q.shape[1];
  const int64_t head_width = args.q.shape[2];
  const int64_t rope = layout.second_dim;
  const int64_t width = layout.ValuesPerTokenAndLayer();
  ForEachToken(context, batch, [&](int sequence, int64_t t) {
    float* q = args.q.as<float>() + t * heads * head_width;
    float* kv = args.kv.as<float>() + t * width;
    for (int64_t h = 0; h < heads; ++h) table.Rotate(t, q + (h + 1) * head_width - rope);
    table.Rotate(t, kv + layout.first_dim);
    const int position = batch.positions[t];
    std::byte* page = PageOf(store, args.layer, batch, sequence, position);
    for (const CacheRows& rows : store.keys()) {
      StoreRow(rows, kv, page, position % kPageTokens);
      kv += rows.dim;
    }
  });
}

}  // namespace transmla::cpu
