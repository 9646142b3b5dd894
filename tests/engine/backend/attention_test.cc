#include "tests/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

#include "engine/base/checked_math.h"
#include "tests/engine/backend/backend_fixture.h"
#include "tests/reference/int8_group.h"
#include "tests/reference/rope.h"

namespace transmla {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr PageId kWild = 0x7FFFFFF0;  // must never be followed
constexpr int kLayers = 2;
constexpr int kLayer = 1;

struct Case {
  AttentionKind kind = AttentionKind::kGqa;
  int heads = 6;
  int kv_heads = 2;  // GQA
  int head_dim = 20;
  int rank = 24;  // MLA
  int rope = 10;
  int nope = 14;
  int window = 0;
  float soft_cap = 0;
  DType cache = DType::kF32;
  int group = 0;                 // I8
  bool still = false;            // frequencies are 0: keys reach the cache as they are, bit for bit
  bool rounds = false;           // the backend rounds what it multiplies with BF16 to BF16
  bool multiplies_int8 = false;  // … and what it multiplies with I8 to as many bits

  bool mla() const { return kind == AttentionKind::kMla; }
  bool int8_products() const { return multiplies_int8 && cache == DType::kI8; }
  KvLayout Layout() const {
    return {.attention = kind,
            .num_layers = kLayers,
            .first_dim = mla() ? rank : kv_heads * head_dim,
            .second_dim = mla() ? rope : kv_heads * head_dim,
            .dtype = cache,
            .group = group};
  }
  int query_width() const { return heads * (mla() ? nope + rope : head_dim); }
  int key_width() const { return mla() ? rank + rope : kv_heads * head_dim; }
  int value_width() const { return mla() ? heads * rank : kv_heads * head_dim; }
  int out_width() const { return heads * (mla() ? rank : head_dim); }
  int pairs() const { return mla() ? rope / 2 : 8; }
  float scale() const { return 0.3f; }
};

// All tokens of a sequence. For MLA, `k` is [latent | rope key] and `v` is q_latent.
struct Sequence {
  int tokens = 0;
  std::vector<float> q;
  std::vector<float> k;
  std::vector<float> v;
};

Sequence MakeSequence(const Case& c, int tokens, uint64_t seed) {
  Random random(seed);
  return {.tokens = tokens,
          .q = RandomFloats(random, int64_t{tokens} * c.query_width()),
          .k = RandomFloats(random, int64_t{tokens} * c.key_width()),
          .v = RandomFloats(random, int64_t{tokens} * c.value_width())};
}

std::vector<float> InvFreq(const Case& c) {
  std::vector<float> inv_freq(c.pairs());
  if (c.still) return inv_freq;
  for (int i = 0; i < c.pairs(); ++i) inv_freq[i] = std::pow(10000.0f, -1.0f * i / c.pairs());
  return inv_freq;
}

// Consecutive tokens of a sequence within a step.
struct Chunk {
  int sequence = 0;
  int first = 0;
  int tokens = 0;
};

class Runner {
 public:
  Runner(Backend& backend, const Case& c, std::vector<Sequence> sequences)
      : backend_(backend), c_(c), sequences_(std::move(sequences)) {
    CHECK_OK(backend.Prepare({.max_tokens = 4096,
                              .max_sequences = 64,
                              .max_logit_tokens = 1,
                              .max_context_tokens = 65536}));
    inv_freq_ = PackFloats(backend, {c.pairs()}, InvFreq(c), WeightRole::kVector);
    PlacePages();
    Poison();
    for (const Sequence& sequence : sequences_) {
      outputs_.emplace_back(int64_t{sequence.tokens} * c.out_width(), kNan);
    }
  }

  // One step with these chunks.
  void Step(const std::vector<Chunk>& chunks) {
    std::vector<Part> parts;
    std::vector<float> q;
    std::vector<float> k;
    std::vector<float> v;
    const auto append = [](std::vector<float>& to, const std::vector<float>& from, int first, int n,
                           int width) {
      to.insert(to.end(), from.begin() + int64_t{first} * width,
                from.begin() + int64_t{first + n} * width);
    };
    for (const Chunk& chunk : chunks) {
      const Sequence& sequence = sequences_[chunk.sequence];
      parts.push_back({chunk.first, chunk.tokens, pages_[chunk.sequence]});
      append(q, sequence.q, chunk.first, chunk.tokens, c_.query_width());
      append(k, sequence.k, chunk.first, chunk.tokens, c_.key_width());
      append(v, sequence.v, chunk.first, chunk.tokens, c_.value_width());
    }
    const RaggedBatch batch = MakeBatch(parts);
    CHECK_OK(backend_.Begin(batch));
    const std::vector<float> out = RunStep(batch.tokens(), q, k, v);
    int64_t at = 0;
    for (const Chunk& chunk : chunks) {
      const int64_t n = int64_t{chunk.tokens} * c_.out_width();
      std::copy_n(out.begin() + at, n,
                  outputs_[chunk.sequence].begin() + int64_t{chunk.first} * c_.out_width());
      at += n;
    }
  }

  // [tokens, out width] of a sequence, as far as computed.
  const std::vector<float>& Output(int sequence) const { return outputs_[sequence]; }

 private:
  // Scattered pages; behind each sequence's last page, entries that must not be followed.
  void PlacePages() {
    int total = 0;
    for (const Sequence& s : sequences_) total += CeilDiv(s.tokens, kPageTokens);
    auto store = backend_.CreateKvStore(c_.Layout(), 2 * total + 3);
    CHECK_OK(store.status());
    store_ = std::move(store).value();
    int next = 0;
    for (const Sequence& s : sequences_) {
      std::vector<PageId> pages;
      for (int i = 0; i < CeilDiv(s.tokens, kPageTokens); ++i) {
        pages.push_back(2 * total - 2 * next++);
      }
      pages.push_back(kWild);
      pages.push_back(-1);
      pages_.push_back(std::move(pages));
    }
  }

  // Fills every page with NaN, so that whatever is read without having been written shows.
  void Poison() {
    for (PageId page = 0; page < store_->pages(); ++page) {
      CHECK_OK(backend_.Begin(MakeBatch({{0, kPageTokens, {page}}})));
      RunStep(kPageTokens, std::vector<float>(kPageTokens * c_.query_width(), kNan),
              std::vector<float>(kPageTokens * c_.key_width(), kNan),
              std::vector<float>(kPageTokens * c_.value_width(), kNan));
    }
  }

  std::vector<float> RunStep(int tokens, const std::vector<float>& q, const std::vector<float>& k,
                             const std::vector<float>& v) {
    if (c_.mla()) return RunMla(tokens, q, k, v);
    Activations q_in(backend_, {tokens, c_.heads, c_.head_dim}, q);
    Activations k_in(backend_, {tokens, c_.kv_heads, c_.head_dim}, k);
    Activations v_in(backend_, {tokens, c_.kv_heads, c_.head_dim}, v);
    Activations out(backend_, {tokens, c_.heads, c_.head_dim}, kNan);
    CHECK_OK(backend_.GqaCacheWrite({.q = q_in.view(),
                                     .k = k_in.view(),
                                     .v = v_in.view(),
                                     .inv_freq = inv_freq_.get(),
                                     .store = store_.get(),
                                     .layer = kLayer}));
    CHECK_OK(backend_.GqaAttention({.q = q_in.view(),
                                    .store = store_.get(),
                                    .layer = kLayer,
                                    .scale = c_.scale(),
                                    .soft_cap = c_.soft_cap,
                                    .sliding_window = c_.window,
                                    .out = out.view()}));
    return out.Read();
  }

  std::vector<float> RunMla(int tokens, const std::vector<float>& q, const std::vector<float>& kv,
                            const std::vector<float>& q_latent) {
    Activations q_in(backend_, {tokens, c_.heads, c_.nope + c_.rope}, q);
    Activations kv_in(backend_, {tokens, c_.rank + c_.rope}, kv);
    Activations latent_in(backend_, {tokens, c_.heads, c_.rank}, q_latent);
    Activations out(backend_, {tokens, c_.heads, c_.rank}, kNan);
    CHECK_OK(backend_.MlaCacheWrite({.q = q_in.view(),
                                     .kv = kv_in.view(),
                                     .inv_freq = inv_freq_.get(),
                                     .store = store_.get(),
                                     .layer = kLayer}));
    CHECK_OK(backend_.MlaAttention({.q_latent = latent_in.view(),
                                    .q = q_in.view(),
                                    .store = store_.get(),
                                    .layer = kLayer,
                                    .scale = c_.scale(),
                                    .soft_cap = c_.soft_cap,
                                    .sliding_window = c_.window,
                                    .out = out.view()}));
    return out.Read();
  }

  Backend& backend_;
  const Case c_;
  const std::vector<Sequence> sequences_;
  WeightPtr inv_freq_;
  std::unique_ptr<KvStore> store_;
  std::vector<std::vector<PageId>> pages_;
  std::vector<std::vector<float>> outputs_;
};

// Rounds elements [begin, end) of a row as the cache does: those of one head, or latents.
void Round(const Case& c, reference::Row& row, int begin, int end) {
  for (int at = begin; c.cache == DType::kI8 && at < end; at += c.group) {
    reference::RoundToInt8(row.data() + at, std::min(c.group, end - at));
  }
  for (int i = begin; i < end; ++i) row[i] = Rounded(c.cache, row[i]);
}

reference::Row Slice(const std::vector<float>& from, int64_t at, int64_t n) {
  return reference::Row(from.begin() + at, from.begin() + at + n);
}

// Keys of one key/value head, rotated and rounded to the cache's type.
std::vector<reference::Row> ReferenceKeys(const Case& c, const Sequence& s, int kv_head) {
  const std::vector<float> inv_freq = InvFreq(c);
  std::vector<reference::Row> keys;
  for (int t = 0; t < s.tokens; ++t) {
    const int64_t at = int64_t{t} * c.key_width() + (c.mla() ? 0 : kv_head * c.head_dim);
    reference::Row key = Slice(s.k, at, c.mla() ? c.key_width() : c.head_dim);
    reference::Rotate(key.data() + (c.mla() ? c.rank : 0), inv_freq, t, 1.0);
    Round(c, key, 0, c.mla() ? c.rank : c.head_dim);
    for (int i = c.rank; c.mla() && i < c.rank + c.rope; ++i) {
      key[i] = Rounded(c.Layout().second_dtype(), key[i]);
    }
    keys.push_back(std::move(key));
  }
  return keys;
}

std::vector<reference::Row> ReferenceValues(const Case& c, const Sequence& s, int kv_head) {
  std::vector<reference::Row> values;
  for (int t = 0; t < s.tokens; ++t) {
    reference::Row value =
        c.mla() ? Slice(s.k, int64_t{t} * c.key_width(), c.rank)
                : Slice(s.v, int64_t{t} * c.value_width() + kv_head * c.head_dim, c.head_dim);
    Round(c, value, 0, static_cast<int>(value.size()));
    values.push_back(std::move(value));
  }
  return values;
}

reference::Row ReferenceQuery(const Case& c, const Sequence& s, int t, int head) {
  const int width = c.query_width() / c.heads;
  reference::Row q = Slice(s.q, int64_t{t} * c.query_width() + head * width, width);
  reference::Rotate(q.data() + (c.mla() ? c.nope : 0), InvFreq(c), t, 1.0);
  if (c.mla()) {
    reference::Row full = Slice(s.v, int64_t{t} * c.value_width() + head * c.rank, c.rank);
    full.insert(full.end(), q.begin() + c.nope, q.end());
    q = std::move(full);
  }
  const int first_part = c.mla() ? c.rank : static_cast<int>(q.size());
  for (int at = 0; c.int8_products() && at < first_part; at += c.group) {
    reference::RoundToInt8(q.data() + at, std::min(c.group, first_part - at));
  }
  for (size_t i = 0; i < q.size(); ++i) {
    const bool rope = c.mla() && static_cast<int>(i) >= c.rank;
    const DType keys = rope ? c.Layout().second_dtype() : c.cache;
    if (c.rounds && keys == DType::kBF16) q[i] = Rounded(keys, q[i]);
  }
  return q;
}

// What to allow for a key, or query, rounded to the other neighbour in its type because its
// rotation differed in the last bit. Neighbours of values of 2 to 4 are 2^-6 apart in BF16, and
// those in a group whose greatest is 4 about 2^-5 in I8. Nothing of the kind happens to keys not
// rotated.
double Slack(const Case& c) {
  if (c.cache == DType::kF32 || c.still) return 1e-5;
  return c.cache == DType::kI8 || c.rounds ? 4e-2 : 2e-2;
}

void ExpectReference(const Case& c, const Sequence& s, const std::vector<float>& out) {
  for (int head = 0; head < c.heads; ++head) {
    const int kv_head = c.mla() ? 0 : head * c.kv_heads / c.heads;
    const std::vector<reference::Row> keys = ReferenceKeys(c, s, kv_head);
    const std::vector<reference::Row> values = ReferenceValues(c, s, kv_head);
    const int dim = c.out_width() / c.heads;
    for (int t = 0; t < s.tokens; ++t) {
      const int begin = c.window == 0 ? 0 : std::max(0, t + 1 - c.window);
      const reference::AttentionResult want = reference::Attention(
          ReferenceQuery(c, s, t, head), keys, values,
          {.begin = begin,
           .end = t + 1,
           .scale = c.scale(),
           .soft_cap = c.soft_cap,
           .weight_rounding = c.rounds && c.cache == DType::kBF16 ? 0x1p-9 : 0.0,
           .tile = c.int8_products() ? kPageTokens : 0,
           .group = c.group});
      for (int i = 0; i < dim; ++i) {
        ASSERT_NEAR(out[int64_t{t} * c.out_width() + head * dim + i], want.out[i],
                    want.tolerance + Slack(c))
            << "head " << head << " position " << t << " element " << i;
      }
    }
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  cases.push_back({});
  cases.push_back({.kv_heads = 6, .head_dim = 64});
  cases.push_back({.heads = 9, .kv_heads = 3, .head_dim = 64, .cache = DType::kBF16});
  cases.push_back({.heads = 5, .kv_heads = 1, .head_dim = 33, .cache = DType::kF16});
  cases.push_back({.window = 1});
  cases.push_back({.window = 70});
  cases.push_back({.head_dim = 40, .window = 300, .cache = DType::kBF16});
  // Scores have a deviation of 0.3 · sqrt(20): the one cap bends nearly all, the other few.
  cases.push_back({.soft_cap = 0.5f});
  cases.push_back({.window = 70, .soft_cap = 5.0f});
  cases.push_back({.kind = AttentionKind::kMla});
  cases.push_back(
      {.kind = AttentionKind::kMla, .heads = 9, .rank = 128, .rope = 32, .cache = DType::kBF16});
  cases.push_back({.kind = AttentionKind::kMla, .heads = 80, .rank = 17, .cache = DType::kF16});
  cases.push_back({.kind = AttentionKind::kMla, .window = 1});
  cases.push_back({.kind = AttentionKind::kMla, .window = 70, .soft_cap = 5.0f});
  cases.push_back({.kind = AttentionKind::kMla,
                   .heads = 9,
                   .rank = 128,
                   .window = 300,
                   .soft_cap = 0.5f,
                   .cache = DType::kBF16});
  for (const bool still : {true, false}) {
    cases.push_back({.head_dim = 24, .cache = DType::kI8, .group = 24, .still = still});
    cases.push_back({.heads = 5,
                     .kv_heads = 5,
                     .head_dim = 130,
                     .window = 70,
                     .cache = DType::kI8,
                     .group = 65,
                     .still = still});
    for (const int rank : {80, 144, 257}) {  // groups of 80; 128 and 16; 128, 128 and 1
      cases.push_back({.kind = AttentionKind::kMla,
                       .heads = 9,
                       .rank = rank,
                       .window = rank == 144 ? 70 : 0,
                       .cache = DType::kI8,
                       .group = std::min(rank, kMaxKvGroup),
                       .still = still});
    }
  }
  return cases;
}

std::string Describe(const Case& c) {
  return absl::StrCat(c.mla() ? "MLA" : "GQA", " heads ", c.heads, " kv heads ", c.kv_heads,
                      " head_dim ", c.head_dim, " rank ", c.rank, " rope ", c.rope, " window ",
                      c.window, " soft cap ", c.soft_cap, " cache ", CacheDTypeName(c.cache),
                      c.still ? " still" : "");
}

// With quantised activations, which let processors round to BF16 in attention.
class AttentionTest : public BackendTest {
 protected:
  AttentionTest() : BackendTest(/*quantised_activations=*/true) {}
  void ExpectLengths(Case c, const std::vector<int>& lengths);
  void ExpectRefuses(float scale, float soft_cap, const std::string& message);
};

// Sequences of these lengths in one step.
void AttentionTest::ExpectLengths(Case c, const std::vector<int>& lengths) {
  c.rounds = RoundsToBf16(GetParam());
  c.multiplies_int8 = MultipliesInt8(GetParam());
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
    ExpectReference(c, sequences[s], runner.Output(static_cast<int>(s)));
  }
}

TEST_P(AttentionTest, AgreesWithReference) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(Describe(c));
    // Around the borders of pages (64) and spans (256).
    ExpectLengths(c, {1, 63, 64, 65, 130, 259});
  }
}

// Shapes of models, in caches of all types: widths of keys and of values that are, and are not,
// whole vectors, and from one query row a tile to many.
std::vector<Case> ModelCases() {
  std::vector<Case> cases;
  for (const DType cache : {DType::kF32, DType::kF16, DType::kBF16, DType::kI8}) {
    const auto gqa = [&](int heads, int kv_heads, int dim) {
      const int group = dim > kMaxKvGroup ? dim / 2 : dim;
      cases.push_back({.heads = heads,
                       .kv_heads = kv_heads,
                       .head_dim = dim,
                       .cache = cache,
                       .group = cache == DType::kI8 ? group : 0,
                       .still = true});
    };
    const auto mla = [&](int heads, int rank, int rope) {
      cases.push_back({.kind = AttentionKind::kMla,
                       .heads = heads,
                       .rank = rank,
                       .rope = rope,
                       .cache = cache,
                       .group = cache == DType::kI8 ? std::min(rank, kMaxKvGroup) : 0,
                       .still = true});
    };
    gqa(2, 2, 64);
    gqa(9, 3, 64);
    gqa(3, 1, 80);
    gqa(7, 1, 96);
    gqa(14, 2, 128);
    gqa(9, 1, 256);
    mla(9, 48, 144);
    mla(9, 72, 24);
    mla(7, 24, 72);
    mla(32, 144, 48);
    mla(11, 512, 64);
  }
  return cases;
}

TEST_P(AttentionTest, AgreesWithReferenceInShapesOfModels) {
  for (const Case& c : ModelCases()) {
    SCOPED_TRACE(Describe(c));
    ExpectLengths(c, {1, 17, 79});
  }
}

// Whole, in uneven chunks, token by token, together with other sequences, and on one thread: always
// the same bits.
TEST_P(AttentionTest, ResultDependsOnTheSequenceAlone) {
  for (const Case& c : Cases()) {
    SCOPED_TRACE(Describe(c));
    const int length = 530;
    const Sequence sequence = MakeSequence(c, length, 1);
    Runner whole(backend(), c, {sequence});
    whole.Step({{0, 0, length}});

    Runner chunked(backend(), c, {sequence, MakeSequence(c, 200, 2), MakeSequence(c, 90, 3)});
    chunked.Step({{1, 0, 150}, {0, 0, 37}});
    chunked.Step({{0, 37, 300}, {2, 0, 90}, {1, 150, 1}});
    for (int t = 337; t < length - 7; ++t) chunked.Step({{0, t, 1}});
    chunked.Step({{1, 151, 49}, {0, length - 7, 7}});
    EXPECT_EQ(std::memcmp(whole.Output(0).data(), chunked.Output(0).data(),
                          whole.Output(0).size() * sizeof(float)),
              0);

    const std::unique_ptr<Backend> single_backend = MakeBackend(GetParam(), 1, true);
    Runner single(*single_backend, c, {sequence});
    single.Step({{0, 0, length - 1}});
    single.Step({{0, length - 1, 1}});
    EXPECT_EQ(std::memcmp(whole.Output(0).data(), single.Output(0).data(),
                          whole.Output(0).size() * sizeof(float)),
              0);
  }
}

// Few rows of queries and many take different paths over a cache of 16-bit floats.
TEST_P(AttentionTest, DecodeGivesThePromptsBits) {
  for (const Case& c : ModelCases()) {
    SCOPED_TRACE(Describe(c));
    const int length = 83;
    const Sequence sequence = MakeSequence(c, length, 1);
    Runner whole(backend(), c, {sequence});
    whole.Step({{0, 0, length}});
    Runner chunked(backend(), c, {sequence});
    chunked.Step({{0, 0, 50}});
    chunked.Step({{0, 50, 2}});
    for (int t = 52; t < length; ++t) chunked.Step({{0, t, 1}});
    EXPECT_EQ(std::memcmp(whole.Output(0).data(), chunked.Output(0).data(),
                          whole.Output(0).size() * sizeof(float)),
              0);
  }
}

// A lone token behind many spans: threads take runs of several spans each.
TEST_P(AttentionTest, LongContextGivesTheSameBitsInRunsOfSpans) {
  for (const int window : {0, 700}) {
    const Case c{.heads = 32,
                 .kv_heads = 32,
                 .head_dim = 32,
                 .window = window,
                 .cache = DType::kBF16,
                 .still = true};
    SCOPED_TRACE(Describe(c));
    const int length = 1290;  // in the sixth span of 256
    const Sequence sequence = MakeSequence(c, length, 1);
    Runner whole(backend(), c, {sequence});
    whole.Step({{0, 0, length}});
    Runner chunked(backend(), c, {sequence});
    chunked.Step({{0, 0, length - 2}});
    for (int t = length - 2; t < length; ++t) chunked.Step({{0, t, 1}});
    EXPECT_EQ(std::memcmp(whole.Output(0).data(), chunked.Output(0).data(),
                          whole.Output(0).size() * sizeof(float)),
              0);
  }
}

TEST_P(AttentionTest, BrokenScoresDoNotCrash) {
  for (const Case& c : {Case{}, Case{.soft_cap = 2.0f}, Case{.kind = AttentionKind::kMla},
                        Case{.cache = DType::kI8, .group = 20},
                        Case{.kind = AttentionKind::kMla, .cache = DType::kI8, .group = 24}}) {
    for (const float value : {kNan, std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity(), 3e38f}) {
      Sequence sequence = MakeSequence(c, 80, 5);
      for (size_t i = 0; i < sequence.k.size(); i += 7) sequence.k[i] = value;
      Runner runner(backend(), c, {sequence});
      runner.Step({{0, 0, 80}});
    }
  }
}

// Attention of one token that says this of its arguments.
void AttentionTest::ExpectRefuses(float scale, float soft_cap, const std::string& message) {
  const Case c;
  auto store = backend().CreateKvStore(c.Layout(), 1);
  ASSERT_TRUE(store.ok());
  ASSERT_TRUE(backend()
                  .Prepare({.max_tokens = 8,
                            .max_sequences = 2,
                            .max_logit_tokens = 1,
                            .max_context_tokens = 64})
                  .ok());
  Activations q(backend(), {1, c.heads, c.head_dim});
  ASSERT_TRUE(backend().Begin(MakeBatch({{0, 1, {0}}})).ok());
  const absl::Status status = backend().GqaAttention({.q = q.view(),
                                                      .store = store->get(),
                                                      .scale = scale,
                                                      .soft_cap = soft_cap,
                                                      .out = q.view()});
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(message));
}

TEST_P(AttentionTest, RefusesScalesThatAreNone) {
  for (const float scale : {0.0f, -1.0f, kNan, std::numeric_limits<float>::infinity()}) {
    ExpectRefuses(scale, 0.0f, "scale is");
  }
}

TEST_P(AttentionTest, RefusesSoftCapsThatAreNone) {
  for (const float cap : {-1.0f, kNan, std::numeric_limits<float>::infinity()}) {
    ExpectRefuses(1.0f, cap, "soft_cap is");
  }
}

TEST_P(AttentionTest, RefusesWindowsThatAreNone) {
  const Case gqa, mla{.kind = AttentionKind::kMla};
  ASSERT_TRUE(backend()
                  .Prepare({.max_tokens = 8,
                            .max_sequences = 2,
                            .max_logit_tokens = 1,
                            .max_context_tokens = 64})
                  .ok());
  ASSERT_TRUE(backend().Begin(MakeBatch({{0, 1, {0}}})).ok());
  auto gqa_store = backend().CreateKvStore(gqa.Layout(), 1);
  auto mla_store = backend().CreateKvStore(mla.Layout(), 1);
  ASSERT_TRUE(gqa_store.ok() && mla_store.ok());
  Activations heads(backend(), {1, gqa.heads, gqa.head_dim});
  Activations q(backend(), {1, mla.heads, mla.nope + mla.rope});
  Activations latent(backend(), {1, mla.heads, mla.rank});
  for (const absl::Status& status : {backend().GqaAttention({.q = heads.view(),
                                    .store = gqa_store->get(),
                                    .scale = 1.0f,
                                    .sliding_window = -1,
                                    .out = heads.view()}),
                                     backend().MlaAttention({.q_latent = latent.view(),
                                     .q = q.view(),
                                     .store = mla_store->get(),
                                     .scale = 1.0f,
                                     .sliding_window = -1,
                                     .out = latent.view()})}) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("sliding_window is -1"));
  }
}

TEST_P(AttentionTest, RefusesPagesOutsideTheStore) {
  const Case c;
  auto store = backend().CreateKvStore(c.Layout(), 4);
  ASSERT_TRUE(store.ok());
  ASSERT_TRUE(backend()
                  .Prepare({.max_tokens = 8,
                            .max_sequences = 2,
                            .max_logit_tokens = 1,
                            .max_context_tokens = 1024})
                  .ok());
  Activations q(backend(), {1, c.heads, c.head_dim});
  Activations out(backend(), {1, c.heads, c.head_dim});
  for (const PageId page : {4, -1, kWild}) {
    ASSERT_TRUE(backend().Begin(MakeBatch({{70, 1, {0, page}}})).ok());
    const absl::Status status = backend().GqaAttention(
        {.q = q.view(), .store = store->get(), .scale = 1.0f, .out = out.view()});
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("4 pages"));
  }
}

// The rotation against angles in double, far out.
TEST_P(AttentionTest, RotationIsAccurateFarOut) {
  const Case c{.kv_heads = 1, .head_dim = 16};
  const int position = 32767;
  auto store = backend().CreateKvStore(c.Layout(), 1);
  ASSERT_TRUE(store.ok());
  ASSERT_TRUE(backend()
                  .Prepare({.max_tokens = 8,
                            .max_sequences = 1,
                            .max_logit_tokens = 1,
                            .max_context_tokens = 32768})
                  .ok());
  const std::vector<float> inv_freq = InvFreq(c);
  const WeightPtr packed = PackFloats(backend(), {c.pairs()}, inv_freq, WeightRole::kVector);
  Random random(3);
  const std::vector<float> q = RandomFloats(random, c.query_width());
  Activations q_in(backend(), {1, c.heads, c.head_dim}, q);
  Activations k_in(backend(), {1, 1, c.head_dim});
  Activations v_in(backend(), {1, 1, c.head_dim});
  ASSERT_TRUE(
      backend()
          .Begin(MakeBatch({{position, 1, std::vector<PageId>(position / kPageTokens + 1, 0)}}))
          .ok());
  ASSERT_TRUE(backend()
                  .GqaCacheWrite({.q = q_in.view(),
                                  .k = k_in.view(),
                                  .v = v_in.view(),
                                  .inv_freq = packed.get(),
                                  .magnitude = 1.25f,
                                  .store = store->get()})
                  .ok());
  const std::vector<float> out = q_in.Read();
  for (int h = 0; h < c.heads; ++h) {
    reference::Row want = Slice(q, h * c.head_dim, c.head_dim);
    reference::Rotate(want.data(), inv_freq, position, 1.25);
    for (int i = 0; i < c.head_dim; ++i) {
      EXPECT_NEAR(out[h * c.head_dim + i], want[i], 1e-6 * 5) << i;
    }
  }
}

// One token weighs 1 exactly, so that attention returns its values as they were stored; where
// weights are rounded, as 255 255ths of 1, with two roundings more.
TEST_P(AttentionTest, Int8CacheHoldsWhatItsDefinitionSays) {
  const std::unique_ptr<Backend> exact = MakeBackend(GetParam(), 2);
  const auto read_back = [&](Backend& backend, const Case& c, const std::vector<float>& values) {
    Sequence sequence = MakeSequence(c, 1, 4);
    std::copy(values.begin(), values.end(), (c.mla() ? sequence.k : sequence.v).begin());
    Runner runner(backend, c, {sequence});
    runner.Step({{0, 0, 1}});
    return runner.Output(0);
  };
  const Case gqa{.heads = 4, .kv_heads = 4, .head_dim = 21, .cache = DType::kI8, .group = 21};
  const Case mla{
      .kind = AttentionKind::kMla, .heads = 1, .rank = 84, .cache = DType::kI8, .group = 21};
  for (const Case& c : {gqa, mla}) {
    SCOPED_TRACE(Describe(c));
    // Groups: with ties and the greatest negative; zeros; large values; what is not finite, which
    // as part of a key would leave no weight to read values by.
    std::vector<float> values(84, 0.0f);
    const std::vector<float> ties = {0.5f, 1.5f, -2.5f, 126.5f, 0.25f, 3.0f, -127.0f};
    std::copy(ties.begin(), ties.end(), values.begin());
    values[42] = 1e30f;
    values[43] = -values[42] / 3;
    values[70] = 1.0f;
    for (const float last :
         {kNan, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
      values[83] = c.mla() ? 0.3f : last;
      const std::vector<float> out = read_back(*exact, c, values);
      const std::vector<float> rounded = read_back(backend(), c, values);
      reference::Row want(values.begin(), values.end());
      const int sound = c.mla() ? 84 : 63;
      for (int at = 0; at < sound; at += 21) reference::RoundToInt8(want.data() + at, 21);
      const float rounding = MultipliesInt8(GetParam()) ? 0x1p-22f : 0.0f;
      for (int i = 0; i < sound; ++i) {
        const float stored = static_cast<float>(want[i]);
        EXPECT_EQ(out[i], stored) << i;
        EXPECT_NEAR(rounded[i], stored, std::abs(stored) * rounding) << i;
      }
      for (int i = sound; i < 84; ++i) {
        EXPECT_TRUE(std::isnan(out[i])) << i;
        EXPECT_TRUE(std::isnan(rounded[i])) << i;
      }
      EXPECT_THAT(std::vector<float>(out.begin(), out.begin() + 7),
                  ::testing::ElementsAre(0, 2, -2, 126, 0, 3, -127));
    }
  }
}

void ExpectCopyReadsTheSame(Backend& backend, const Case& c) {
  auto store = backend.CreateKvStore(c.Layout(), 3);
  ASSERT_TRUE(store.ok());
  ASSERT_TRUE(backend
                  .Prepare({.max_tokens = 64,
                            .max_sequences = 1,
                            .max_logit_tokens = 1,
                            .max_context_tokens = 64})
                  .ok());
  const WeightPtr inv_freq = PackFloats(backend, {c.pairs()}, InvFreq(c), WeightRole::kVector);
  const Sequence s = MakeSequence(c, 40, 9);
  Activations q(backend, {40, c.heads, c.head_dim}, s.q);
  Activations k(backend, {40, c.kv_heads, c.head_dim}, s.k);
  Activations v(backend, {40, c.kv_heads, c.head_dim}, s.v);
  Activations a(backend, {40, c.heads, c.head_dim}, kNan);
  Activations b(backend, {40, c.heads, c.head_dim}, kNan);
  ASSERT_TRUE(backend.Begin(MakeBatch({{0, 40, {2}}})).ok());
  ASSERT_TRUE(backend
                  .GqaCacheWrite({.q = q.view(),
                                  .k = k.view(),
                                  .v = v.view(),
                                  .inv_freq = inv_freq.get(),
                                  .store = store->get(),
                                  .layer = 1})
                  .ok());
  ASSERT_TRUE(backend.CopyPages(store->get(), {{2, 0}, {1, 1}}).ok());
  GqaAttentionArgs args{
      .q = q.view(), .store = store->get(), .layer = 1, .scale = 0.2f, .out = a.view()};
  ASSERT_TRUE(backend.GqaAttention(args).ok());
  ASSERT_TRUE(backend.Begin(MakeBatch({{0, 40, {0}}})).ok());
  args.out = b.view();
  ASSERT_TRUE(backend.GqaAttention(args).ok());
  EXPECT_EQ(a.Read(), b.Read());
  EXPECT_TRUE(absl::IsInvalidArgument(backend.CopyPages(store->get(), {{0, 3}})));
}

TEST_P(AttentionTest, CopiedPageReadsTheSame) {
  for (const Case& c : {Case{.cache = DType::kBF16}, Case{.cache = DType::kI8, .group = 20}}) {
    SCOPED_TRACE(Describe(c));
    ExpectCopyReadsTheSame(backend(), c);
  }
}

INSTANTIATE_BACKENDS(AttentionTest);

}  // namespace
}  // namespace transmla
