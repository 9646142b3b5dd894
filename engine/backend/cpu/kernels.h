// Kernels: the inner loops of the CPU backend as a table of functions, one table an instruction
// set (instruction_set.h).
//
// Each table lives in a translation unit of its own (kernels_generic.cc, kernels_avx2.cc,
// kernels_avx512.cc), compiled for that set and made of intrinsics and of functions with internal
// linkage only: an inline function shared with the rest of the program could be emitted with
// AVX-512 instructions there and be picked by the linker for every machine.
//
// Order of sums. A dot product has one vector accumulator that runs over k in steps of the vector
// width, and one fixed reduction of its lanes. It is therefore the same, bit for bit, for any
// number of tokens, any tiling and any number of threads; and decoding a weight inside the loop
// gives the same bits as decoding its row first. Attention's scores and sums of values are the same
// for any number of rows and for values decoded beforehand, since each adds its products one by one
// (attention_kernels_inl.h). Tables differ from one another in rounding.
//
// All functions are thread-safe and pure; none allocates. Pointers need no alignment.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_H_

#include <cstdint>

#include "engine/base/page.h"
#include "engine/tensor/dtype.h"

namespace transmla::cpu {

// Rows of floats packed by pack_rows: whole registers of so many rows and columns.
inline constexpr int kPackedRows = 16;
inline constexpr int kPackedCols = 32;
constexpr int64_t PackedBytes(int64_t rows, int64_t cols) {
  return (rows + kPackedRows - 1) / kPackedRows * kPackedRows *
         ((cols + kPackedCols - 1) / kPackedCols) * kPackedCols * 2;
}

// A group of `cols` columns of rows of floats packed by pack_int8_rows: the rows' scales and what
// their integer sums begin with, 32 bits each, then codes, four of a row side by side, of columns
// rounded up to 16. Static, as kernels call it: nothing of theirs may be shared.
static constexpr int64_t PackedInt8GroupBytes(int64_t rows, int64_t cols) {
  return rows * (8 + (cols + 15) / 16 * 16);
}

// Of rows of groups, rounded up to a multiple of 64.
static constexpr int64_t PackedInt8Bytes(int64_t rows, int64_t cols, int group) {
  const int64_t bytes = cols / group * PackedInt8GroupBytes(rows, group) +
                        (cols % group == 0 ? 0 : PackedInt8GroupBytes(rows, cols % group));
  return (bytes + 63) / 64 * 64;
}

// out[t, r] = Σ_k w[r, k] · x[t, k] (+ bias[r]) (+ out[t, r] if accumulate).
struct DotArgs {
  const void* w = nullptr;  // [rows, k] of some type
  int64_t w_stride = 0;     // bytes from row to row
  int rows = 0;
  const float* x = nullptr;  // [tokens, k]
  int64_t x_stride = 0;      // floats from token to token
  int tokens = 0;
  int64_t k = 0;
  const float* bias = nullptr;  // [rows], or none
  bool accumulate = false;
  float* out = nullptr;    // [tokens, rows]
  int64_t out_stride = 0;  // floats from token to token
  // dot_bf16: 8 bytes for each element of k rounded up to 32, at a multiple of 64.
  void* scratch = nullptr;
  const void* packed = nullptr;  // dot_packed: what pack_rows made of x
};

// Columns of consecutive cached tokens as the cache holds them, F32, F16, BF16 or I8: value
// (token, col) of I8 is data[token, col] · scales[token, col / group].
struct CacheTile {
  DType dtype = DType::kF32;
  const void* data = nullptr;  // of the first token and column
  // What `data` will be in the next call with a tile like this one, to be brought into the
  // processor's cache meanwhile; or none.
  const void* next = nullptr;
  int64_t next_byte = 0;  // of each token of `next`, the first byte to be brought in
  int64_t stride = 0;     // bytes from token to token
  int cols = 0;
  int group = 0;                  // I8: columns a scale; the first column begins a group
  const float* scales = nullptr;  // I8: of the first token and column
  int64_t scales_stride = 0;      // I8: floats from token to token
};

// out[r, j] = Σ_k q[r, k] · keys[j, k] (+ out[r, j] if accumulate) for j < tokens, k ascending.
// `tokens` is rounded up to a multiple of 16: `keys` must reach as far, and results as far are
// written.
struct ScoresArgs {
  const float* q = nullptr;  // [rows, q_stride]
  int64_t q_stride = 0;
  const void* packed = nullptr;  // what pack_rows or, for I8, pack_int8_rows made of q
  int rows = 0;
  CacheTile keys;  // [tokens, k]
  int tokens = 0;
  bool accumulate = false;
  float* out = nullptr;  // [rows, kPageTokens]
};

// o[r, c] = o[r, c] · alpha[r] + Σ_{begin <= j < end} p[r, j] · v[j, c], j ascending.
struct WeightedSumArgs {
  const float* p = nullptr;  // [rows, p_stride]
  int64_t p_stride = 0;
  int rows = 0;
  int begin = 0;
  int end = 0;
  CacheTile v;                   // [end, cols]; I8: `end` rounded up to a multiple of 16
  const float* alpha = nullptr;  // [rows]
  float* o = nullptr;            // [rows, cols]
  int64_t o_stride = 0;
};

// The running state of a softmax: the greatest score so far, not scaled, and the sum of
// exp(scale · (score - greatest)).
struct SoftmaxState {
  float max;
  float sum;
};

// One tile of the online softmax of each row: the row's state takes in scores[r, begin … end), and
// they become exp(scale · (score - greatest so far)), those outside of the range 0.
struct SoftmaxArgs {
  float* scores = nullptr;  // [rows, kPageTokens]
  int rows = 0;
  int begin = 0;
  int end = 0;
  float scale = 1.0f;             // above 0
  SoftmaxState* state = nullptr;  // [rows]
  float* alpha = nullptr;         // [rows], written: by what the sums so far must be multiplied
};

struct Kernels {
  // Decodes n elements of a row; equal to DequantizeRow bit for bit. n is a whole number of blocks.
  void (*dequantize)(DType dtype, const void* row, int64_t n, float* out);

  // Dots with F32 rows, for any number of tokens.
  void (*dot_f32)(const DotArgs& args);

  // Dots that decode `dtype` in registers, made for few tokens. False, with nothing done, for a
  // type that this table decodes only as rows.
  bool (*dot_fused)(DType dtype, const DotArgs& args);

  // Dots with BF16 rows in BF16 products, which round `x`, for any number of tokens. None where the
  // processor has no such products. Where it has, `scores` and `weighted_sum` round queries and
  // weights over tiles of BF16, and values decoded beforehand give other bits.
  void (*dot_bf16)(const DotArgs& args) = nullptr;

  // Where the processor multiplies BF16 in tile registers, else null: writes [rows, cols] of x,
  // rounded to BF16, in the order in which `dot_packed` and `scores` read it, PackedBytes(rows,
  // cols) at a multiple of 64; and dots with BF16 rows, for any number of tokens.
  void (*pack_rows)(const float* x, int64_t x_stride, int rows, int64_t cols,
                    void* packed) = nullptr;
  void (*dot_packed)(const DotArgs& args) = nullptr;

  // out[c] = in[c] / sqrt(mean(in²) + eps) · weight[c]; `out` may be `in`.
  void (*rms_norm)(const float* in, const float* weight, float eps, int64_t n, float* out);
  // out[c] += in[c] / sqrt(mean(in²) + eps) · weight[c].
  void (*rms_norm_add)(const float* in, const float* weight, float eps, int64_t n, float* out);

  // out = x / (1 + exp(-x)) · up; `out` may be `gate`.
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  // out = x / 2 · (1 + tanh(sqrt(2 / π) · (x + 0.044715 x³))) · up.
  void (*gelu_tanh_mul)(const float* gate, const float* up, int64_t n, float* out);

  // values[i] = cap · tanh(values[i] · scale / cap), within some units in the last place. cap > 0.
  void (*soft_cap)(float scale, float cap, int64_t n, float* values);

  // out[i] = exp(in[i]) within 2 units in the last place; results below 2^-125 are 0.
  void (*exp)(const float* in, int64_t n, float* out);

  // --- attention, over at most kPageTokens cached tokens ---

  // Where the processor multiplies 8-bit integers, else null: writes the codes of [rows, cols] of
  // x, rounded in groups as the cache rounds keys, in the order in which `scores` reads them.
  // PackedInt8Bytes(rows, cols, group). Where there is one, weights too are rounded, to 255ths of
  // their page's greatest, and values decoded beforehand give other bits.
  void (*pack_int8_rows)(const float* x, int64_t x_stride, int rows, int64_t cols, int group,
                         void* packed) = nullptr;
  // out[token, col] as floats, the same bits in every table.
  void (*decode_tile)(const CacheTile& tile, int tokens, float* out, int64_t out_stride);
  void (*scores)(const ScoresArgs& args);
  void (*softmax_tile)(const SoftmaxArgs& args);
  // to[i] = to[i] · a + from[i] · b.
  void (*add_scaled)(float a, float b, const float* from, int64_t n, float* to);

  void (*weighted_sum)(const WeightedSumArgs& args);

  // Where `scores` and `weighted_sum` need a state of the processor: a thread calls them between
  // these two.
  void (*begin_attention)() = nullptr;
  void (*end_attention)() = nullptr;
};

extern const Kernels kGenericKernels;     // SSE4.1: what every x86-64-v2 machine has
extern const Kernels kAvx2Kernels;        // AVX2, FMA, F16C
extern const Kernels kAvx512Kernels;      // AVX-512 F, BW, DQ, VL
extern const Kernels kAvx512VnniKernels;  // those and VNNI
extern const Kernels kAvx512Bf16Kernels;  // those and BF16
extern const Kernels kAmxKernels;         // those and AMX BF16

// DequantizeRow (engine/tensor/block_formats.h) behind a plain function, for the types that a table
// does not decode itself.
void DequantizeScalar(DType dtype, const void* row, int64_t n, float* out);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_KERNELS_H_
