#include "engine/backend/cpu/linear.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

#include "engine/backend/cpu/activation_tiles.h"
#include "engine/backend/cpu/panel_format.h"
#include "engine/backend/cpu/panel_kernels.h"
#include "engine/backend/cpu/rows.h"
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

int64_t DecodedRowsPerTask(int64_t k) {
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

bool InPanels(const Product& p) { return p.weight->panels() != nullptr; }

// A product whose activations are packed once for all rows.
bool IsPacked(const CpuContext& context, const Product& p) {
  return context.kernels->dot_packed != nullptr && p.weight->dtype() == DType::kBF16 &&
         PackedBytes(kPackedRows, p.k) * p.matrices <= CpuContext::kPackedBytes;
}

// A product cut into tasks, each of some rows of one matrix.
struct Tasks {
  const Product* product;
  bool packed;         // IsPacked
  int64_t rows;        // of a task, but for the last of a matrix
  int64_t per_matrix;  // tasks
  int64_t count;       // tasks

  Tasks(const CpuContext& context, const Product& p)
      : product(&p),
        packed(IsPacked(context, p)),
        rows(InPanels(p) ? PanelRowsPerTask(*context.pool, p)
             : packed    ? kTaskRows
                         : DecodedRowsPerTask(p.k)),
        per_matrix(CeilDiv(p.rows, rows)),
        count(per_matrix * p.matrices) {}
};

// What a task multiplies by.
struct TaskRows {
  int64_t matrix;
  int64_t first;
  int64_t count;

  TaskRows(const Tasks& tasks, int64_t task)
      : matrix(task / tasks.per_matrix),
        first(task % tasks.per_matrix * tasks.rows),
        count(std::min(tasks.rows, tasks.product->rows - first)) {}
};

// REQUIRES: context.packed holds the product's tokens if it IsPacked.
void RunFloatTask(CpuContext& context, const Tasks& tasks, const TaskRows& rows, int worker) {
  const Kernels& kernels = *context.kernels;
  const Product& p = *tasks.product;
  const CpuWeight& weight = *p.weight;
  DotArgs dot;
  dot.w = weight.data() + (rows.matrix * p.rows + rows.first) * weight.row_bytes();
  dot.w_stride = weight.row_bytes();
  dot.rows = static_cast<int>(rows.count);
  dot.x = p.in + rows.matrix * p.in_step;
  dot.x_stride = p.in_stride;
  dot.tokens = p.tokens;
  dot.k = p.k;
  dot.bias = p.bias == nullptr ? nullptr : p.bias + rows.first;
  dot.accumulate = p.accumulate;
  dot.out = p.out + rows.matrix * p.out_step + rows.first;
  dot.out_stride = p.out_stride;
  if (weight.dtype() == DType::kF32) return kernels.dot_f32(dot);
  if (tasks.packed) {
    dot.packed = context.packed.data() + rows.matrix * PackedBytes(p.tokens, p.k);
    return kernels.dot_packed(dot);
  }
  if (weight.dtype() == DType::kBF16 && kernels.dot_bf16 != nullptr) {
    dot.scratch = context.Scratch(worker);
    return kernels.dot_bf16(dot);
  }
  if (p.tokens <= kFusedTokens && kernels.dot_fused(weight.dtype(), dot)) return;
  float* decoded = context.Scratch(worker);
  for (int64_t r = 0; r < rows.count; ++r) {
    kernels.dequantize(weight.dtype(), static_cast<const std::byte*>(dot.w) + r * dot.w_stride, p.k,
                       decoded + r * p.k);
  }
  dot.w = decoded;
  dot.w_stride = p.k * static_cast<int64_t>(sizeof(float));
  kernels.dot_f32(dot);
}

// REQUIRES: context.tiles holds the product's tokens.
void RunPanelTask(CpuContext& context, const Product& p, const TaskRows& rows, int worker) {
  const int64_t panel_bytes = PanelBytes(p.weight->dtype(), p.k);
  PanelDotArgs dot;
  dot.dtype = p.weight->dtype();
  dot.panels = p.weight->panels() + rows.first / kPanelRows * panel_bytes;
  dot.panel_bytes = panel_bytes;
  dot.rows = static_cast<int>(rows.count);
  dot.tiles = reinterpret_cast<const uint8_t*>(context.tiles.data());
  dot.tokens = p.tokens;
  dot.k = p.k;
  dot.bias = p.bias == nullptr ? nullptr : p.bias + rows.first;
  dot.accumulate = p.accumulate;
  dot.out = p.out + rows.first;
  dot.out_stride = p.out_stride;
  dot.scratch = reinterpret_cast<uint8_t*>(context.Scratch(worker));
  p.weight->panel_dot()(dot);
}

void RunTask(CpuContext& context, const Tasks& tasks, const TaskRows& rows, int worker) {
  InPanels(*tasks.product) ? RunPanelTask(context, *tasks.product, rows, worker)
                           : RunFloatTask(context, tasks, rows, worker);
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

// What products of the same rows `in` read of them. REQUIRES: the tokens fit TokenRoom of each;
// weights in panels are of one matrix (those of heads are not kept in panels), as are all if there
// are several.
void PrepareTokens(CpuContext& context, absl::Span<const Product> products) {
  if (const auto panels = absl::c_find_if(products, InPanels); panels != products.end()) {
    FillTiles(context, *panels);
  }
  const auto packed =
      absl::c_find_if(products, [&](const Product& product) { return IsPacked(context, product); });
  if (packed != products.end()) PackTokens(context, *packed);
}

// Products of the same rows `in` in one loop, so that threads wait for one another once. REQUIRES:
// as PrepareTokens.
void RunTogether(CpuContext& context, absl::Span<const Product> products) {
  PrepareTokens(context, products);
  absl::InlinedVector<Tasks, 4> all;
  int64_t total = 0;
  for (const Product& p : products) total += all.emplace_back(context, p).count;
  context.pool->ParallelFor(total, [&](int64_t task, int worker) {
    const Tasks* tasks = all.data();
    for (; task >= tasks->count; ++tasks) task -= tasks->count;
    RunTask(context, *tasks, TaskRows(*tasks, task), worker);
  });
}

// Tokens [first, first + tokens) of a product.
Product TokensOf(const Product& p, int first, int tokens) {
  Product part = p;
  part.in += first * p.in_stride;
  part.out += first * p.out_stride;
  part.tokens = tokens;
  return part;
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
    const Product part = TokensOf(p, first, std::min(turn, p.tokens - first));
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

bool GatedLinear(CpuContext& context, const GatedLinearArgs& args) {
  const Product gate = ProductOf({.in = args.in, .weight = args.gate, .out = args.out});
  const Product up = ProductOf({.in = args.in, .weight = args.up, .out = args.up_out});
  if (InPanels(gate) != InPanels(up) || IsPacked(context, gate) != IsPacked(context, up)) {
    return false;
  }
  const auto activate = GatedActivationKernel(*context.kernels, args.activation);
  const int turn = std::min(TokenRoom(context, gate), TokenRoom(context, up));
  for (int first = 0; first < gate.tokens; first += turn) {
    const int tokens = std::min(turn, gate.tokens - first);
    const Product products[] = {TokensOf(gate, first, tokens), TokensOf(up, first, tokens)};
    PrepareTokens(context, products);
    const Tasks gate_tasks(context, products[0]);
    const Tasks up_tasks(context, products[1]);
    context.pool->ParallelFor(gate_tasks.count, [&](int64_t task, int worker) {
      const TaskRows rows(gate_tasks, task);
      RunTask(context, gate_tasks, rows, worker);
      RunTask(context, up_tasks, rows, worker);
      for (int64_t t = 0; t < tokens; ++t) {
        float* out = products[0].out + t * products[0].out_stride + rows.first;
        const float* factors = products[1].out + t * products[1].out_stride + rows.first;
        activate(out, factors, rows.count, out);
      }
    });
  }
  return true;
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
