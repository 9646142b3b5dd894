#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

#include "engine/base/checked_math.h"
#include "engine/tensor/float_types.h"
#include "tests/engine/backend/backend_fixture.h"
#include "tests/reference/attention.h"
#include "tests/reference/int8_group.h"

namespace transmla {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kScale = 0.2f;
constexpr int kLayer = 1;

struct Case {
  int heads = 3;
  int rank = 24;
  int rope = 10;
  int nope = 14;
  int value = 12;
  int window = 0;
  float soft_cap = 0;
  DType cache = DType::kF32;
  DType weights = DType::kF32;  // or BF16
  bool rounds = false;          // the backend rounds what it multiplies with BF16 to BF16

  KvLayout Layout() const {
    return {.attention = AttentionKind::kMla,
            .num_layers = 2,
            .first_dim = rank,
            .second_dim = rope,
            .dtype = cache,
            .group = cache == DType::kI8 ? std::min(rank, kMaxKvGroup) : 0};
  }
  int width() const { return nope + rope; }
};

// All tokens of a sequence. Frequencies are 0, so that rotation changes nothing.
struct Sequence {
  int tokens = 0;
  std::vector<float> q;         // [tokens, heads, width]
  std::vector<float> kv;        // [tokens, rank + rope]
  std::vector<float> q_latent;  // [tokens, heads, rank]: of tokens that are absorbed
};

Sequence MakeSequence(const Case& c, int tokens, uint64_t seed) {
  Random random(seed);
  return {.tokens = tokens,
          .q = RandomFloats(random, int64_t{tokens} * c.heads * c.width()),
          .kv = RandomFloats(random, int64_t{tokens} * (c.rank + c.rope)),
          .q_latent = RandomFloats(random, int64_t{tokens} * c.heads * c.rank)};
}

// [heads, rows, rank] of values that BF16 holds, so small that keys and values are about 1.
struct PerHead {
  std::vector<float> values;
  WeightPtr weight;

  PerHead(Backend& backend, const Case& c, int rows, uint64_t seed) {
    Random random(seed);
    values = RandomFloats(random, int64_t{c.heads} * rows * c.rank, 1.0 / std::sqrt(c.rank));
    for (float& value : values) value = static_cast<float>(Rounded(DType::kBF16, value));
    const Shape shape({c.heads, rows, c.rank});
    if (c.weights == DType::kF32) {
      weight = PackFloats(backend, shape, values, WeightRole::kPerHead);
      return;
    }
    std::vector<uint16_t> halves;
    for (const float value : values) halves.push_back(FloatToBf16(value));
    auto packed =
        backend.Pack({.view = {halves.data(), DType::kBF16, shape}, .role = WeightRole::kPerHead});
    CHECK_OK(packed.status());
    weight = *std::move(packed);
  }
};

// Consecutive tokens of a sequence within a step, of which those at positions [from, to) attend
// expanded.
struct Chunk {
  int sequence = 0;
  int first = 0;
  int tokens = 0;
  int from = 0;
  int to = std::numeric_limits<int>::max();
};

class Runner {
 public:
  Runner(Backend& backend, const Case& c, std::vector<Sequence> sequences)
      : backend_(backend),
        c_(c),
        sequences_(std::move(sequences)),
        w_uk_(backend, c, c.nope, 101),
        w_uv_(backend, c, c.value, 102) {
    CHECK_OK(backend.Prepare({.max_tokens = 4096,
                              .max_sequences = 8,
                              .max_logit_tokens = 1,
                              .max_context_tokens = 8192,
                              .expanded_attention = true}));
    inv_freq_ = PackFloats(backend, {c.rope / 2}, std::vector<float>(c.rope / 2, 0.0f),
                           WeightRole::kVector);
    int total = 0;
    for (const Sequence& s : sequences_) total += CeilDiv(s.tokens, kPageTokens);
    auto store = backend.CreateKvStore(c.Layout(), total);
    CHECK_OK(store.status());
    store_ = std::move(store).value();
    for (const Sequence& s : sequences_) {
      std::vector<PageId> pages;
      for (int i = 0; i < CeilDiv(s.tokens, kPageTokens); ++i) pages.push_back(--total);
      pages_.push_back(std::move(pages));
      expanded_.emplace_back(int64_t{s.tokens} * c.heads * c.value, kNan);
      absorbed_.emplace_back(int64_t{s.tokens} * c.heads * c.rank, kNan);
    }
  }

  // One step with these chunks, in both forms.
  void Step(const std::vector<Chunk>& chunks) {
    std::vector<Part> parts;
    for (const Chunk& chunk : chunks) {
      parts.push_back({chunk.first, chunk.tokens, pages_[chunk.sequence]});
    }
    RaggedBatch batch = MakeBatch(parts);
    for (size_t i = 0; i < chunks.size(); ++i) {
      const Chunk& chunk = chunks[i];
      const auto token = [&](int position) {
        return batch.sequence_starts[i] +
               std::clamp(position, chunk.first, chunk.first + chunk.tokens) - chunk.first;
      };
      batch.expanded.push_back({token(chunk.from), token(chunk.to)});
    }
    CHECK_OK(backend_.Begin(batch));
    const int64_t tokens = batch.tokens();
    Activations q(backend_, {tokens, c_.heads, c_.width()}, Gather(chunks, &Sequence::q));
    Activations kv(backend_, {tokens, c_.rank + c_.rope}, Gather(chunks, &Sequence::kv));
    Activations latent(backend_, {tokens, c_.heads, c_.rank}, Gather(chunks, &Sequence::q_latent));
    Activations expanded(backend_, {tokens, c_.heads, c_.value}, kNan);
    Activations absorbed(backend_, {tokens, c_.heads, c_.rank}, kNan);
    CHECK_OK(backend_.MlaCacheWrite({.q = q.view(),
                                     .kv = kv.view(),
                                     .inv_freq = inv_freq_.get(),
                                     .store = store_.get(),
                                     .layer = kLayer}));
    CHECK_OK(backend_.MlaExpandedAttention({.q = q.view(),
                                            .w_uk = w_uk_.weight.get(),
                                            .w_uv = w_uv_.weight.get(),
                                            .store = store_.get(),
                                            .layer = kLayer,
                                            .scale = kScale,
                                            .soft_cap = c_.soft_cap,
                                            .sliding_window = c_.window,
                                            .out = expanded.view()}));
    CHECK_OK(backend_.MlaAttention({.q_latent = latent.view(),
                                    .q = q.view(),
                                    .store = store_.get(),
                                    .layer = kLayer,
                                    .scale = kScale,
                                    .soft_cap = c_.soft_cap,
                                    .sliding_window = c_.window,
                                    .out = absorbed.view()}));
    Scatter(chunks, expanded.Read(), expanded_);
    Scatter(chunks, absorbed.Read(), absorbed_);
  }

  const std::vector<float>& Expanded(int sequence) const { return expanded_[sequence]; }
  const std::vector<float>& Absorbed(int sequence) const { return absorbed_[sequence]; }
  const PerHead& w_uk() const { return w_uk_; }
  const PerHead& w_uv() const { return w_uv_; }

 private:
  std::vector<float> Gather(const std::vector<Chunk>& chunks,
                            std::vector<float> Sequence::*values) const {
    std::vector<float> gathered;
    for (const Chunk& chunk : chunks) {
      const std::vector<float>& from = sequences_[chunk.sequence].*values;
      const int64_t width = static_cast<int64_t>(from.size()) / sequences_[chunk.sequence].tokens;
      gathered.insert(gathered.end(), from.begin() + chunk.first * width,
                      from.begin() + (chunk.first + chunk.tokens) * width);
    }
    return gathered;
  }
  void Scatter(const std::vector<Chunk>& chunks, const std::vector<float>& out,
               std::vector<std::vector<float>>& to) const {
    auto from = out.begin();
    for (const Chunk& chunk : chunks) {
      std::vector<float>& values = to[chunk.sequence];
      const int64_t width = static_cast<int64_t>(values.size()) / sequences_[chunk.sequence].tokens;
      std::copy_n(from, chunk.tokens * width, values.begin() + chunk.first * width);
      from += chunk.tokens * width;
    }
  }

  Backend& backend_;
  const Case c_;
  const std::vector<Sequence> sequences_;
  const PerHead w_uk_, w_uv_;
  WeightPtr inv_freq_;
  std::unique_ptr<KvStore> store_;
  std::vector<std::vector<PageId>> pages_;
  std::vector<std::vector<float>> expanded_, absorbed_;
};

// A cached row: the latent and the rope key as the cache holds them.
reference::Row CachedRow(const Case& c, const Sequence& s, int t) {
  const auto begin = s.kv.begin() + int64_t{t} * (c.rank + c.rope);
  reference::Row row(begin, begin + c.rank + c.rope);
  const int group = c.Layout().group;
  for (int at = 0; c.cache == DType::kI8 && at < c.rank; at += group) {
    reference::RoundToInt8(row.data() + at, std::min(group, c.rank - at));
  }
  for (int i = 0; i < c.rank + c.rope; ++i) {
    row[i] = Rounded(i < c.rank ? c.cache : c.Layout().second_dtype(), row[i]);
  }
  return row;
}

// weights[head] · latent, rounded to what keys and values are kept as.
reference::Row Expand(const Case& c, const PerHead& weights, int rows, int head,
                      const reference::Row& cached) {
  const DType kept = c.cache == DType::kI8 ? DType::kBF16 : c.cache;
  reference::Row out(rows);
  for (int r = 0; r < rows; ++r) {
    const float* w = weights.values.data() + (int64_t{head} * rows + r) * c.rank;
    for (int i = 0; i < c.rank; ++i) out[r] += double{w[i]} * cached[i];
    out[r] = Rounded(kept, out[r]);
  }
  return out;
}

// What roundings may do beyond the reference's own tolerance. Sums of floats come out a few units
// of 2^-24 apart. That tips the rounding of an element of a key or value of 16 bits now and then;
// and where latents, queries and weights of tokens are rounded to BF16, each is off by 2^-9 of
// itself.
double Slack(const Case& c) {
  const bool plain = c.cache == DType::kF32 && !(c.rounds && c.weights == DType::kBF16);
  return plain ? 2e-5 : 2e-2;
}

void ExpectReference(const Case& c, const Sequence& s, const Runner& runner, int sequence) {
  for (int head = 0; head < c.heads; ++head) {
    std::vector<reference::Row> keys, values;
    for (int t = 0; t < s.tokens; ++t) {
      const reference::Row cached = CachedRow(c, s, t);
      keys.push_back(Expand(c, runner.w_uk(), c.nope, head, cached));
      keys.back().insert(keys.back().end(), cached.begin() + c.rank, cached.end());
      values.push_back(Expand(c, runner.w_uv(), c.value, head, cached));
    }
    for (int t = 0; t < s.tokens; ++t) {
      const auto q = s.q.begin() + (int64_t{t} * c.heads + head) * c.width();
      const reference::AttentionResult want =
          reference::Attention(reference::Row(q, q + c.width()), keys, values,
                               {.begin = c.window == 0 ? 0 : std::max(0, t + 1 - c.window),
                                .end = t + 1,
                                .scale = kScale,
                                .soft_cap = c.soft_cap});
      const float* out = runner.Expanded(sequence).data() + (int64_t{t} * c.heads + head) * c.value;
      for (int i = 0; i < c.value; ++i) {
        ASSERT_NEAR(out[i], want.out[i], want.tolerance + Slack(c))
            << "head " << head << " position " << t << " element " << i;
      }
    }
  }
}

std::vector<Case> Cases() {
  return {{},
          {.window = 70},
          {.window = 1, .soft_cap = 2.0f},
          {.heads = 2, .rank = 65, .rope = 2, .nope = 1, .value = 33, .weights = DType::kBF16},
          {.cache = DType::kF16},
          {.cache = DType::kBF16, .weights = DType::kBF16},
          {.heads = 4,
           .rank = 80,
           .rope = 16,
           .nope = 32,
           .value = 48,
           .window = 300,
           .cache = DType::kBF16,
           .weights = DType::kBF16},
          {.rank = 144, .cache = DType::kI8, .weights = DType::kBF16},
          {.rank = 40, .soft_cap = 5.0f, .cache = DType::kI8}};
}

std::string Describe(const Case& c) {
  return absl::StrCat("rank ", c.rank, " window ", c.window, " soft cap ", c.soft_cap, " cache ",
                      CacheDTypeName(c.cache), " weights ", DTypeName(c.weights));
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class MlaExpandedAttentionTest : public BackendTest {
 protected:
  MlaExpandedAttentionTest() : BackendTest(/*quantised_activations=*/true) {}
};

// Lengths around pages (64), spans (256) and a section (512).
TEST_P(MlaExpandedAttentionTest, AgreesWithReference) {
  for (Case c : Cases()) {
    c.rounds = RoundsToBf16(GetParam());
    SCOPED_TRACE(Describe(c));
    const std::vector<int> lengths = {1, 64, 65, 259, 515};
    std::vector<Sequence> sequences;
    std::vector<Chunk> chunks;
    for (size_t s = 0; s < lengths.size(); ++s) {
      sequences.push_back(MakeSequence(c, lengths[s], s));
      chunks.push_back({static_cast<int>(s), 0, lengths[s]});
    }
    Runner runner(backend(), c, sequences);
    runner.Step(chunks);
    for (size_t s = 0; s < sequences.size(); ++s) {
      SCOPED_TRACE(absl::StrCat("length ", lengths[s]));
      ExpectReference(c, sequences[s], runner, static_cast<int>(s));
    }
  }
}

// Whole, in uneven chunks, one by one, beside other sequences, and on one thread: always the same
// bits, over three sections.
TEST_P(MlaExpandedAttentionTest, ResultDependsOnTheSequenceAlone) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(Describe(c));
    const int length = 1100;
    const Sequence sequence = MakeSequence(c, length, 1);
    Runner whole(backend(), c, {sequence});
    whole.Step({{0, 0, length}});

    Runner chunked(backend(), c, {sequence, MakeSequence(c, 600, 2)});
    chunked.Step({{1, 0, 150}, {0, 0, 37}});
    chunked.Step({{0, 37, 500}, {1, 150, 449}});
    for (int t = 537; t < 541; ++t) chunked.Step({{0, t, 1}});
    chunked.Step({{1, 599, 1}, {0, 541, length - 541}});
    EXPECT_TRUE(SameBits(whole.Expanded(0), chunked.Expanded(0)));

    const std::unique_ptr<Backend> single_backend = MakeBackend(GetParam(), 1, true);
    Runner single(*single_backend, c, {sequence});
    single.Step({{0, 0, 1000}});
    single.Step({{0, 1000, 100}});
    EXPECT_TRUE(SameBits(whole.Expanded(0), single.Expanded(0)));
  }
}

// Each form computes its own tokens, with the bits that they have where all are of one form, and
// leaves the others' rows.
TEST_P(MlaExpandedAttentionTest, FormsShareAStep) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(Describe(c));
    const int length = 300, from = 70, to = 263;
    const Sequence sequence = MakeSequence(c, length, 1);
    Runner expanded(backend(), c, {sequence});
    expanded.Step({{0, 0, length}});
    Runner absorbed(backend(), c, {sequence});
    absorbed.Step({{.tokens = length, .to = 0}});
    Runner mixed(backend(), c, {sequence, MakeSequence(c, 90, 2)});
    mixed.Step({{.tokens = 250, .from = from, .to = to}, {.sequence = 1, .tokens = 90, .to = 0}});
    mixed.Step({{.first = 250, .tokens = 50, .from = from, .to = to}});

    const auto expect_rows = [&](const std::vector<float>& got, const std::vector<float>& want,
                                 int width, bool inside) {
      for (int t = 0; t < length; ++t) {
        const bool computed = (from <= t && t < to) == inside;
        const float* const row = got.data() + int64_t{t} * width;
        if (!computed) {
          EXPECT_TRUE(std::all_of(row, row + width, [](float x) { return std::isnan(x); })) << t;
          continue;
        }
        EXPECT_EQ(std::memcmp(row, want.data() + int64_t{t} * width, width * sizeof(float)), 0)
            << t;
      }
    };
    expect_rows(mixed.Expanded(0), expanded.Expanded(0), c.heads * c.value, true);
    expect_rows(mixed.Absorbed(0), absorbed.Absorbed(0), c.heads * c.rank, false);
  }
}

// More queries than there is room for what they keep between sections.
TEST_P(MlaExpandedAttentionTest, ManyQueriesGoInPartsWithTheSameBits) {
  const Case c{.heads = 4096, .rank = 2, .rope = 2, .nope = 2, .value = 2};
  const int length = 300;
  const Sequence sequence = MakeSequence(c, length, 1);
  Runner whole(backend(), c, {sequence});
  whole.Step({{0, 0, length}});
  Runner halves(backend(), c, {sequence});
  halves.Step({{0, 0, length / 2}});
  halves.Step({{0, length / 2, length - length / 2}});
  EXPECT_TRUE(SameBits(whole.Expanded(0), halves.Expanded(0)));
}

// A backend serves one model after the other: what was made for one shape is not used for another.
TEST_P(MlaExpandedAttentionTest, ShapesMayChange) {
  for (const Case& c : {Case{}, Case{.heads = 7, .nope = 30}, Case{}}) {
    const Sequence sequence = MakeSequence(c, 100, 1);
    Runner runner(backend(), c, {sequence});
    runner.Step({{0, 0, 100}});
    ExpectReference(c, sequence, runner, 0);
  }
}

TEST_P(MlaExpandedAttentionTest, BrokenLatentsDoNotCrash) {
  for (const Case& c : Cases()) {
    for (const float value : {kNan, std::numeric_limits<float>::infinity(), 3e38f}) {
      Sequence sequence = MakeSequence(c, 80, 5);
      for (size_t i = 0; i < sequence.kv.size(); i += 7) sequence.kv[i] = value;
      Runner runner(backend(), c, {sequence});
      runner.Step({{0, 0, 80}});
    }
  }
}

TEST_P(MlaExpandedAttentionTest, RefusesWhatDoesNotFit) {
  const Case c;
  const StepLimits limits{.max_tokens = 8,
                          .max_sequences = 2,
                          .max_logit_tokens = 1,
                          .max_context_tokens = 64,
                          .expanded_attention = true};
  ASSERT_TRUE(backend().Prepare(limits).ok());
  auto store = backend().CreateKvStore(c.Layout(), 1);
  ASSERT_TRUE(store.ok());
  const auto weight = [&](int heads, int rows, int rank) {
    return PackFloats(backend(), {heads, rows, rank}, std::vector<float>(heads * rows * rank),
                      WeightRole::kPerHead);
  };
  Activations q(backend(), {1, c.heads, c.width()});
  Activations out(backend(), {1, c.heads, c.value});
  RaggedBatch batch = MakeBatch({{0, 1, {0}}});
  batch.expanded = {{0, 1}};
  ASSERT_TRUE(backend().Begin(batch).ok());
  const auto expect = [&](const WeightPtr& w_uk, const WeightPtr& w_uv, float scale,
                          const std::string& message) {
    const absl::Status status = backend().MlaExpandedAttention({.q = q.view(),
                                                                .w_uk = w_uk.get(),
                                                                .w_uv = w_uv.get(),
                                                                .store = store->get(),
                                                                .scale = scale,
                                                                .out = out.view()});
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(message));
  };
  const WeightPtr w_uk = weight(c.heads, c.nope, c.rank);
  const WeightPtr w_uv = weight(c.heads, c.value, c.rank);
  expect(nullptr, w_uv, 1, "w_uk");
  expect(weight(c.heads + 1, c.nope, c.rank), w_uv, 1, "w_uk's heads is 4, expected 3");
  expect(weight(c.heads, c.nope, c.rank + 1), w_uv, 1, "w_uk's width is 25, expected 24");
  expect(weight(c.heads, c.nope + 1, c.rank), w_uv, 1, "q's head width is 24, expected 25");
  expect(w_uk, weight(c.heads, c.value + 1, c.rank), 1, "out's width is 12, expected 13");
  expect(w_uk, w_uv, 0, "scale is 0");

  const auto refuses = [&](const std::vector<TokenRange>& expanded, const std::string& message) {
    batch.expanded = expanded;
    const absl::Status status = backend().Begin(batch);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(message));
  };
  refuses({{0, 1}, {0, 1}}, "step has 1 sequences but 2 ranges");
  refuses({{0, 2}}, "tokens 0 to 2 are expanded, sequence 0 has 0 to 1");
  refuses({{-1, 0}}, "tokens -1 to 0");
  refuses({{1, 0}}, "tokens 1 to 0");
  StepLimits absorbed_only = limits;
  absorbed_only.expanded_attention = false;
  ASSERT_TRUE(backend().Prepare(absorbed_only).ok());
  refuses({{0, 1}}, "limits do not allow");
  batch.expanded = {{1, 1}};
  EXPECT_TRUE(backend().Begin(batch).ok());
}

INSTANTIATE_BACKENDS(MlaExpandedAttentionTest);

}  // namespace
}  // namespace transmla
