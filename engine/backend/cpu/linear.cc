#include "engine/backend/cpu/linear.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/backend/cpu/panel_kernels.h"
#include "engine/base/checked_math.h"

namespace transmla::cpu {
namespace {

// Up to this many tokens weights are decoded in registers, once for each four tokens; above, a
// group of rows is decoded to memory once for all tokens. Both give the same bits (kernels.h).
constexpr int kFusedTokens = 4;

// Rows of a task: enough that handing out tasks costs nothing, few enough that two threads finish
// together and that decoded rows stay in the second-level cache.
constexpr int64_t kTaskRows = 32;
// Of large products, where it leaves a thread as many tasks: activations are read less often.
constexpr int64_t kLongTaskRows = 64;
constexpr int kLongTasksPerThread = 8;
constexpr int kPiecesPerThread = 8;
constexpr int64_t kDecodedFloats = 128 * 1024;

int64_t RowsPerTask(int64_t k) {
  return std::clamp(kDecodedFloats / k / 4 * 4, int64_t{4}, kTaskRows);
}

// In whole panels. Those that are unpacked fit the workspace; those that are not are handed out in
// few long pieces, which a processor reads ahead in.
int64_t PanelRowsPerTask(const ThreadPool& pool, const Product& p) {
  const int64_t pair_rows = 2 * kPanelRows;
  if (p.tokens <= kPackedTokens) {
    const int64_t piece = CeilDiv(p.rows, int64_t{kPiecesPerThread} * pool.threads());
    return std::max(kTaskRows, CeilDiv(piece, pair_rows) * pair_rows);
  }
  const int64_t pairs = CpuContext::kScratchBytes / PanelScratchBytes(pair_rows, p.k);
  const bool large = p.rows >= kLongTasksPerThread * kLongTaskRows * pool.threads();
  return std::clamp(pairs * pair_rows, pair_rows, large ? kLongTaskRows : kTaskRows);
}

// A product whose activations are packed once for all rows.
bool IsPacked(const CpuContext& context, const Product& p) {
  return context.kernels->dot_packed != nullptr && p.weight->dtype() == DType::kBF16 &&
         PackedBytes(kPackedRows, p.k) * p.matrices <= CpuContext::kPackedBytes;
}

int64_t FloatTaskRows(const CpuContext& context, const Product& p) {
  return IsPacked(context, p) ? kTaskRows : RowsPerTask(p.k);
}

int64_t FloatTasks(const CpuContext& context, const Product& p) {
  return CeilDiv(p.rows, FloatTaskRows(context, p)) * p.matrices;
}

// REQUIRES: context.packed holds the product's tokens if it IsPacked.
void RunFloatTask(CpuContext& context, const Product& p, int64_t task, int worker) {
  const Kernels& kernels = *context.kernels;
  const CpuWeight& weight = *p.weight;
  const int64_t task_rows = FloatTaskRows(context, p);
  const int64_t matrix_tasks = CeilDiv(p.rows, task_rows);
  const int64_t matrix = task / matrix_tasks;
  const int64_t row = task % matrix_tasks * task_rows;
  const int64_t rows = std::min(task_rows, p.rows - row);
  DotArgs dot;
  dot.w = weight.data() + (matrix * p.rows + row) * weight.row_bytes();
  dot.w_stride = weight.row_bytes();
  dot.rows = static_cast<int>(rows);
  dot.x = p.in + matrix * p.in_step;
  dot.x_stride = p.in_stride;
  dot.tokens = p.tokens;
  dot.k = p.k;
  dot.bias = p.bias == nullptr ? nullptr : p.bias + row;
  dot.accumulate = p.accumulate;
  dot.out = p.out + matrix * p.out_step + row;
  dot.out_stride = p.out_stride;
  if (weight.dtype() == DType::kF32) return kernels.dot_f32(dot);
  if (IsPacked(context, p)) {
    dot.packed = context.packed.data() + matrix * PackedBytes(p.tokens, p.k);
    return kernels.dot_packed(dot);
  }
  if (weight.dtype() == DType::kBF16 && kernels.dot_bf16 != nullptr) {
    dot.scratch = context.Scratch(worker);
    return kernels.dot_bf16(dot);
  }
  if (p.tokens <= kFusedTokens && kernels.dot_fused(weight.dtype(), dot)) return;
  float* decoded = context.Scratch(worker);
  for (int64_t r = 0; r < rows; ++r) {
    kernels.dequantize(weight.dtype(), static_cast<const std::byte*>(dot.w) + r * dot.w_stride, p.k,
                       decoded + r * p.k);
  }
  dot.w = decoded;
  dot.w_stride = p.k * static_cast<int64_t>(sizeof(float));
  kernels.dot_f32(dot);
}

int64_t PanelTasks(const CpuContext& context, const Product& p) {
  return CeilDiv(p.rows, PanelRowsPerTask(*context.pool, p));
}

// REQUIRES: context.tiles holds the product's tokens.
void RunPanelTask(CpuContext& context, const Product& p, int64_t task, int worker) {
  const int64_t panel_bytes = PanelBytes(p.weight->dtype(), p.k);
  const int64_t task_rows = PanelRowsPerTask(*context.pool, p);
  const int64_t row = task * task_rows;
  PanelDotArgs dot;
  dot.dtype = p.weight->dtype();
  dot.panels = p.weight->panels() + row / kPanelRows * panel_bytes;
  dot.panel_bytes = panel_bytes;
  dot.rows = static_cast<int>(std::min(task_rows, p.rows - row));
  dot.tiles = reinterpret_cast<const uint8_t*>(context.tiles.data());
  dot.tokens = p.tokens;
  dot.k = p.k;
  dot.bias = p.bias == nullptr ? nullptr : p.bias + row;
  dot.accumulate = p.accumulate;
  dot.out = p.out + row;
  dot.out_stride = p.out_stride;
  dot.scratch = reinterpret_cast<uint8_t*>(context.Scratch(worker));
  context.panels->dot(dot);
}

// Writes activation tiles of the tokens of a product.
void FillTiles(CpuContext& context, const Product& p) {
  const int64_t token_bytes = TileTokenBytes(p.k);
  uint8_t* const tiles = reinterpret_cast<uint8_t*>(context.tiles.data());
  const int tile_tokens = context.panels->tile_tokens;
  context.pool->ParallelFor(CeilDiv(p.tokens, tile_tokens), [&](int64_t tile, int) {
    const int token = static_cast<int>(tile) * tile_tokens;
    context.panels->quantize_tile(p.in + token * p.in_stride, p.in_stride,
                                  std::min(tile_tokens, p.tokens - token), p.k,
                                  tiles + token * token_bytes);
  });
}

// Packs the tokens of a product.
void PackTokens(CpuContext& context, const Product& p) {
  const int64_t groups = CeilDiv(p.tokens, kPackedRows);
  context.pool->ParallelFor(groups * p.matrices, [&](int64_t task, int) {
    const int64_t matrix = task / groups;
    const int token = static_cast<int>(task % groups) * kPackedRows;
    context.kernels->pack_rows(p.in + matrix * p.in_step + token * p.in_stride, p.in_stride,
                               std::min(kPackedRows, p.tokens - token), p.k,
                               context.packed.data() + task * PackedBytes(kPackedRows, p.k));
  });
}

bool InPanels(const Product& p) { return p.weight->panels() != nullptr; }

// Tokens whose tiles, or packed rows, fit the workspace, in whole ones.
int TokenRoom(const CpuContext& context, const Product& p) {
  if (IsPacked(context, p)) {
    const int64_t group_bytes = PackedBytes(kPackedRows, p.k) * p.matrices;
    return static_cast<int>(CpuContext::kPackedBytes / group_bytes * kPackedRows);
  }
  if (!InPanels(p)) return p.tokens;
  const int tile_tokens = context.panels->tile_tokens;
  return static_cast<int>(CpuContext::kTileBytes / TileTokenBytes(p.k) / tile_tokens * tile_tokens);
}

// Products of the same rows `in` in one loop, so that threads wait for one another once. REQUIRES:
// the tokens fit TokenRoom of each; weights in panels are of one matrix (those of heads are not
// kept in panels), as are all if there are several.
void RunTogether(CpuContext& context, absl::Span<const Product> products) {
  if (const auto panels = absl::c_find_if(products, InPanels); panels != products.end()) {
    FillTiles(context, *panels);
  }
  const auto packed =
      absl::c_find_if(products, [&](const Product& product) { return IsPacked(context, product); });
  if (packed != products.end()) PackTokens(context, *packed);
  const auto tasks = [&](const Product& p) {
    return InPanels(p) ? PanelTasks(context, p) : FloatTasks(context, p);
  };
  int64_t total = 0;
  for (const Product& p : products) total += tasks(p);
  context.pool->ParallelFor(total, [&](int64_t task, int worker) {
    const Product* p = products.data();
    for (; task >= tasks(*p); ++p) task -= tasks(*p);
    InPanels(*p) ? RunPanelTask(context, *p, task, worker)
                 : RunFloatTask(context, *p, task, worker);
  });
}

Product ProductOf(const LinearArgs& args) {
  Product product;
  product.weight = &AsCpu(*args.weight);
  product.rows = args.weight->shape()[0];
  product.k = args.weight->shape()[1];
  product.in = args.in.as<float>();
  product.in_stride = product.k;
  product.tokens = static_cast<int>(args.in.shape[0]);
  product.bias = args.bias == nullptr ? nullptr : AsCpu(*args.bias).vector();
  product.accumulate = args.accumulate;
  product.out = args.out.as<float>();
  product.out_stride = product.rows;
  return product;
}

}  // namespace

void RunProduct(CpuContext& context, const Product& p) {
  const int turn = TokenRoom(context, p);
  for (int first = 0; first < p.tokens; first += turn) {
    Product part = p;
    part.in += first * p.in_stride;
    part.out += first * p.out_stride;
    part.tokens = std::min(turn, p.tokens - first);
    RunTogether(context, {&part, 1});
  }
}

void Linear(CpuContext& context, const LinearArgs& args) { RunProduct(context, ProductOf(args)); }

void LinearGroup(CpuContext& context, absl::Span<const LinearArgs> group) {
  absl::InlinedVector<Product, 4> products;
  for (const LinearArgs& args : group) products.push_back(ProductOf(args));
  const bool fit =
      absl::c_all_of(products, [&](const Product& p) { return p.tokens <= TokenRoom(context, p); });
  if (fit) return RunTogether(context, products);
  for (const Product& product : products) RunProduct(context, product);
}

void PerHeadLinear(CpuContext& context, const PerHeadLinearArgs& args) {
  Product product;
  product.weight = &AsCpu(*args.weight);
  product.matrices = args.weight->shape()[0];
  product.rows = args.weight->shape()[1];
  product.k = args.weight->shape()[2];
  product.in = args.in.as<float>() + args.in_offset;
  product.in_step = args.in.shape[2];
  product.in_stride = product.matrices * product.in_step;
  product.tokens = static_cast<int>(args.in.shape[0]);
  product.out = args.out.as<float>();
  product.out_step = product.rows;
  product.out_stride = product.matrices * product.rows;
  RunProduct(context, product);
}

}  // namespace transmla::cpu
