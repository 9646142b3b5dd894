// Attention over caches of BF16 and of 8-bit integers: decode of one and of 16 sequences, and the
// last 512 tokens of a prompt, for the shapes of two models and for latent caches of a quarter of
// their size.
//
// GB/s counts the cached bytes that the queries see, once for each sequence; GFLOP/s counts a
// multiply-add as two. Layers are taken in turn, as a model does, so that long caches come from
// memory. kernel_bench's BM_ReadBandwidth is the roof of the one, its linear_bench of the other.
#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "benchmark/benchmark.h"

#include "engine/backend/cpu/create.h"
#include "engine/base/check.h"
#include "engine/base/checked_math.h"
#include "engine/base/random.h"

namespace transmla {
namespace {

constexpr int64_t kCycledBytes = int64_t{96} << 20;
constexpr int kMaxLayers = 32;

struct Shape {
  int heads = 0;
  int kv_heads = 0;  // 0: latent attention
  int dim = 0;       // of a head; of the rope key for latent attention
  int rank = 0;      // of the latent
  DType cache = DType::kBF16;
  // Latents expanded to keys of nope + dim and values of `value` for every head; 0: not.
  int nope = 0;
  int value = 0;

  bool mla() const { return kv_heads == 0; }
  bool expanded() const { return nope > 0; }
  int query_dim() const { return nope + dim; }
  int key_dim() const { return expanded() ? nope + dim : rank + dim; }
  int value_dim() const { return expanded() ? value : mla() ? rank : dim; }
  // Multiply-adds of the expansion of a position.
  double ExpansionProducts() const { return expanded() ? 1.0 * heads * rank * (nope + value) : 0; }
  KvLayout Layout() const {
    return {.attention = mla() ? AttentionKind::kMla : AttentionKind::kGqa,
            .num_layers = 1,
            .first_dim = mla() ? rank : kv_heads * dim,
            .second_dim = mla() ? dim : kv_heads * dim,
            .dtype = cache,
            .group = cache == DType::kI8 ? std::min(mla() ? rank : dim, kMaxKvGroup) : 0};
  }
};

// Sequences that have `context` positions each, the last `tokens` of which are computed.
RaggedBatch MakeBatch(int sequences, int tokens, int context) {
  RaggedBatch batch;
  batch.sequence_starts.push_back(0);
  batch.page_starts.push_back(0);
  const int pages = CeilDiv(context, kPageTokens);
  for (int s = 0; s < sequences; ++s) {
    for (int t = 0; t < tokens; ++t) {
      batch.token_ids.push_back(0);
      batch.positions.push_back(context - tokens + t);
    }
    for (int p = 0; p < pages; ++p) batch.pages.push_back(s * pages + p);
    batch.sequence_starts.push_back(batch.tokens());
    batch.page_starts.push_back(static_cast<int32_t>(batch.pages.size()));
  }
  return batch;
}

// Halves whose top byte makes every BF16 number, and every scale of integers, a small positive one.
void FillPages(KvStore& store) {
  std::vector<std::byte> bytes(store.layout().BytesPerPage());
  Random random(1);
  for (PageId page = 0; page < store.pages(); ++page) {
    for (size_t i = 0; i < bytes.size(); i += 2) {
      bytes[i] = static_cast<std::byte>(random());
      bytes[i + 1] = std::byte{0x3D};
    }
    CHECK_OK(store.WritePage(page, bytes));
  }
}

WeightPtr PerHeadWeight(Backend& backend, const Shape& shape, int rows) {
  const transmla::Shape dims({shape.heads, rows, shape.rank});
  const std::vector<uint16_t> values(dims.elements(), 0x3D00);
  auto weight =
      backend.Pack({.view = {values.data(), DType::kBF16, dims}, .role = WeightRole::kPerHead});
  CHECK_OK(weight.status());
  return *std::move(weight);
}

void BM_Attention(benchmark::State& state, const Shape& shape) {
  const int sequences = static_cast<int>(state.range(0));
  const int tokens = static_cast<int>(state.range(1));
  const int context = static_cast<int>(state.range(2));
  auto backend = CreateCpuBackend(
      {.threads = static_cast<int>(state.range(3)), .quantised_activations = true});
  CHECK_OK(backend.status());
  RaggedBatch batch = MakeBatch(sequences, tokens, context);
  for (int s = 0; shape.expanded() && s < sequences; ++s) {
    batch.expanded.push_back({batch.sequence_starts[s], batch.sequence_starts[s + 1]});
  }
  CHECK_OK((*backend)->Prepare({.max_tokens = batch.tokens(),
                                .max_sequences = sequences,
                                .max_logit_tokens = 1,
                                .max_context_tokens = context,
                                .expanded_attention = shape.expanded()}));

  KvLayout layout = shape.Layout();
  const int64_t layer_bytes = layout.BytesPerToken() * context * sequences;
  layout.num_layers =
      static_cast<int>(std::min<int64_t>(kMaxLayers, CeilDiv(kCycledBytes, layer_bytes)));
  auto store = (*backend)->CreateKvStore(layout, static_cast<int>(batch.pages.size()));
  CHECK_OK(store.status());
  FillPages(**store);

  const int64_t rows = batch.tokens();
  auto q = (*backend)->NewTensor({rows, shape.heads, shape.query_dim()});
  auto q_latent = (*backend)->NewTensor({rows, shape.heads, std::max(1, shape.rank)});
  auto out = (*backend)->NewTensor({rows, shape.heads, shape.value_dim()});
  CHECK_OK(q.status());
  CHECK_OK(q_latent.status());
  CHECK_OK(out.status());
  for (const auto& tensor : {q->get(), q_latent->get()}) {
    const MutableTensorView view = tensor->Rows(rows);
    CHECK_OK((*backend)->Write(std::vector<float>(view.shape.elements(), 0.5f), view));
  }
  WeightPtr w_uk, w_uv;
  if (shape.expanded()) {
    w_uk = PerHeadWeight(**backend, shape, shape.nope);
    w_uv = PerHeadWeight(**backend, shape, shape.value);
  }
  CHECK_OK((*backend)->Begin(batch));
  int layer = 0;
  for (auto _ : state) {
    if (shape.expanded()) {
      CHECK_OK((*backend)->MlaExpandedAttention({.q = (*q)->Rows(rows),
                                                 .w_uk = w_uk.get(),
                                                 .w_uv = w_uv.get(),
                                                 .store = store->get(),
                                                 .layer = layer,
                                                 .scale = 0.1f,
                                                 .out = (*out)->Rows(rows)}));
    } else if (shape.mla()) {
      CHECK_OK((*backend)->MlaAttention({.q_latent = (*q_latent)->Rows(rows),
                                         .q = (*q)->Rows(rows),
                                         .store = store->get(),
                                         .layer = layer,
                                         .scale = 0.1f,
                                         .out = (*out)->Rows(rows)}));
    } else {
      CHECK_OK((*backend)->GqaAttention({.q = (*q)->Rows(rows),
                                         .store = store->get(),
                                         .layer = layer,
                                         .scale = 0.1f,
                                         .out = (*out)->Rows(rows)}));
    }
    layer = (layer + 1) % layout.num_layers;
  }
  // Each token sees itself and what is before it.
  const double seen = 1.0 * rows * (context - tokens) + 0.5 * rows * (tokens + 1);
  const double products = seen * shape.heads * (shape.key_dim() + shape.value_dim()) +
                          1.0 * sequences * context * shape.ExpansionProducts();
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * products, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GB/s"] = benchmark::Counter(1e-9 * static_cast<double>(layer_bytes),
                                              benchmark::Counter::kIsIterationInvariantRate);
}

// Decode of one sequence and of 16, and prefill of 512 tokens.
#define ATTENTION(name, ...)                                    \
  BENCHMARK_CAPTURE(BM_Attention, name, Shape{__VA_ARGS__})     \
      ->ArgNames({"sequences", "tokens", "context", "threads"}) \
      ->Args({1, 1, 512, 1})                                    \
      ->Args({1, 1, 512, 2})                                    \
      ->Args({1, 1, 8192, 1})                                   \
      ->Args({1, 1, 8192, 2})                                   \
      ->Args({16, 1, 4096, 2})                                  \
      ->Args({1, 512, 512, 2})                                  \
      ->Args({1, 512, 8192, 2})                                 \
      ->UseRealTime()

// SmolLM2-135M caches 384 values a token and layer, Llama-3-8B 2,048.
ATTENTION(smollm2_gqa, .heads = 9, .kv_heads = 3, .dim = 64);
ATTENTION(smollm2_mla, .heads = 9, .dim = 24, .rank = 72);
ATTENTION(llama3_8b_gqa, .heads = 32, .kv_heads = 8, .dim = 128);
ATTENTION(llama3_8b_mla, .heads = 32, .dim = 64, .rank = 448);
ATTENTION(smollm2_gqa_int8, .heads = 9, .kv_heads = 3, .dim = 64, .cache = DType::kI8);
ATTENTION(smollm2_mla_int8, .heads = 9, .dim = 24, .rank = 72, .cache = DType::kI8);
ATTENTION(llama3_8b_mla_int8, .heads = 32, .dim = 64, .rank = 448, .cache = DType::kI8);

// Prompts that expand the latents to keys and values of every head, the expansion included.
#define EXPANDED(name, ...)                                     \
  BENCHMARK_CAPTURE(BM_Attention, name, Shape{__VA_ARGS__})     \
      ->ArgNames({"sequences", "tokens", "context", "threads"}) \
      ->Args({1, 128, 8192, 2})                                 \
      ->Args({1, 256, 8192, 2})                                 \
      ->Args({1, 512, 512, 2})                                  \
      ->Args({1, 512, 1024, 2})                                 \
      ->Args({1, 512, 8192, 2})                                 \
      ->UseRealTime()

EXPANDED(smollm2_expanded, .heads = 9, .dim = 24, .rank = 72, .nope = 64, .value = 64);
EXPANDED(llama3_8b_expanded, .heads = 32, .dim = 64, .rank = 448, .nope = 128, .value = 128);
EXPANDED(llama3_8b_absorbed, .heads = 32, .dim = 64, .rank = 448);
EXPANDED(deepseek_v2_lite_expanded, .heads = 16, .dim = 64, .rank = 512, .nope = 128, .value = 128);
EXPANDED(deepseek_v2_lite_absorbed, .heads = 16, .dim = 64, .rank = 512);

}  // namespace
}  // namespace transmla
