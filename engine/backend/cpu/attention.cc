#include "engine/backend/cpu/attention.h"

#include <algorithm>

#include "absl/types/span.h"

#include "engine/backend/cpu/block_attention.h"
#include "engine/backend/cpu/cpu_kv_store.h"
#include "engine/base/checked_math.h"
#include "engine/base/status.h"

namespace transmla::cpu {
namespace {

// Blocks of a step, counted without keeping them: block i of the step in order of tokens. A
// sequence's blocks are those before the tokens that are left out of it, and those behind.
class Blocks {
 public:
  // `left_out` is empty, or a range for each sequence, and must outlive this.
  Blocks(const RaggedBatch& batch, absl::Span<const TokenRange> left_out, int block_tokens)
      : batch_(batch), left_out_(left_out), block_tokens_(block_tokens) {
    for (int part = 0; part < 2 * batch.sequences(); ++part) {
      const TokenRange tokens = Tokens(part);
      if (tokens.tokens() == 0) continue;
      count_ += CeilDiv(tokens.tokens(), block_tokens_);
      most_spans_ = std::max(most_spans_, batch.positions[tokens.end - 1] / kSpanTokens + 1);
    }
  }
  int count() const { return count_; }
  int most_spans() const { return most_spans_; }

  QueryBlock At(int i) const {
    for (int part = 0;; ++part) {
      const TokenRange tokens = Tokens(part);
      const int n = CeilDiv(tokens.tokens(), block_tokens_);
      if (i >= n) {
        i -= n;
        continue;
      }
      const int first = tokens.begin + i * block_tokens_;
      return {.first = first,
              .tokens = std::min(block_tokens_, tokens.end - first),
              .first_position = batch_.positions[first],
              .pages = batch_.pages.data() + batch_.page_starts[part / 2]};
    }
  }

 private:
  // Those of sequence part / 2 before what is left out, or behind.
  TokenRange Tokens(int part) const {
    const int s = part / 2;
    const TokenRange all{batch_.sequence_starts[s], batch_.sequence_starts[s + 1]};
    const bool behind = part % 2 != 0;
    if (left_out_.empty()) return behind ? TokenRange{all.end, all.end} : all;
    return behind ? TokenRange{left_out_[s].end, all.end}
                  : TokenRange{all.begin, left_out_[s].begin};
  }

  const RaggedBatch& batch_;
  const absl::Span<const TokenRange> left_out_;
  const int block_tokens_;
  int count_ = 0;
  int most_spans_ = 0;
};

// Each task runs all spans of a block and head.
void RunWhole(CpuContext& context, const AttentionCall& call, const Blocks& blocks) {
  const int64_t tasks = int64_t{blocks.count()} * call.kv_heads;
  context.pool->ParallelFor(tasks, [&](int64_t task, int worker) {
    // Last blocks first: they see most, and a long task at the end would leave threads idle.
    const int64_t from_end = tasks - 1 - task;
    const QueryBlock block = blocks.At(static_cast<int>(from_end / call.kv_heads));
    BlockAttention attention(*context.kernels, call, block,
                             static_cast<int>(from_end % call.kv_heads), context.Scratch(worker));
    attention.GatherQuery();
    attention.ClearTotal();
    const KernelScope scope(*context.kernels);
    attention.AddSpans(0, attention.Spans());
    attention.WriteOut();
  });
}

// Tasks of RunSpans for each thread: so many that the last ones end at about the same time.
constexpr int kTasksPerThread = 8;

// Each task runs some spans of a block and head, and a second round merges: for few queries over a
// long context. The sums are those of RunWhole.
void RunSpans(CpuContext& context, const AttentionCall& call, const Blocks& blocks) {
  const int spans = blocks.most_spans();
  const int64_t max_rows = int64_t{call.block_tokens()} * call.group();
  const int64_t state_floats = 2 * max_rows;
  const int64_t part_floats = state_floats + max_rows * call.value_dim;
  float* const partials = reinterpret_cast<float*>(context.partials.data());
  const int64_t units = int64_t{blocks.count()} * call.kv_heads;
  const auto attend = [&](int64_t unit, int worker) {
    return BlockAttention(*context.kernels, call, blocks.At(static_cast<int>(unit / call.kv_heads)),
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

absl::Status Run(CpuContext& context, const AttentionCall& call, const Blocks& blocks) {
  RETURN_IF_ERROR(call.CheckWorkspace());
  if (blocks.count() == 0) return absl::OkStatus();
  const int64_t units = int64_t{blocks.count()} * call.kv_heads;
  const int64_t rows = int64_t{call.block_tokens()} * call.group();
  const int64_t partial_bytes = units * blocks.most_spans() * rows * (call.value_dim + 2) *
                                static_cast<int64_t>(sizeof(float));
  const bool few = units < kTasksPerThread * context.pool->threads() && context.pool->threads() > 1;
  if (few && blocks.most_spans() > 1 && partial_bytes <= CpuContext::kPartialBytes) {
    RunSpans(context, call, blocks);
  } else {
    RunWhole(context, call, blocks);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status GqaAttention(CpuContext& context, const RaggedBatch& batch,
                          const GqaAttentionArgs& args) {
  const CpuKvStore& store = static_cast<const CpuKvStore&>(*args.store);
  const int64_t dim = args.q.shape[2];
  AttentionCall call = AttentionCall::Of(args);
  call.store = &store;
  call.layer = args.layer;
  call.kv_heads = static_cast<int>(store.layout().first_dim / dim);
  call.query[0] = {args.q.as<float>(), call.heads * dim, dim, dim};
  call.key_dim = dim;
  call.value_dim = dim;
  return Run(context, call, Blocks(batch, {}, call.block_tokens()));
}

absl::Status MlaAttention(CpuContext& context, const RaggedBatch& batch,
                          const MlaAttentionArgs& args) {
  const CpuKvStore& store = static_cast<const CpuKvStore&>(*args.store);
  const int64_t rank = store.layout().first_dim;
  const int64_t rope = store.layout().second_dim;
  const int64_t width = args.q.shape[2];
  AttentionCall call = AttentionCall::Of(args);
  call.store = &store;
  call.layer = args.layer;
  call.kv_heads = 1;
  call.query[0] = {args.q_latent.as<float>(), call.heads * rank, rank, rank};
  call.query[1] = {args.q.as<float>() + width - rope, call.heads * width, width, rope};
  call.key_dim = rank + rope;
  call.value_dim = rank;
  call.values_in_keys = true;
  return Run(context, call, Blocks(batch, batch.expanded, call.block_tokens()));
}

}  // namespace transmla::cpu
