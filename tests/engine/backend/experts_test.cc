// Route, GatherRows and CombineRows, by themselves and as a mixture of experts uses them.
#include "tests/reference/experts.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"

#include "tests/engine/backend/backend_fixture.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr StepLimits kLimits = {
    .max_tokens = 128, .max_sequences = 1, .max_logit_tokens = 1, .max_context_tokens = 128};

struct Routing {
  std::vector<int32_t> experts;
  std::vector<float> weights;
};

class ExpertsTest : public BackendTest {
 protected:
  void Begin(Backend& backend, int tokens) {
    ASSERT_TRUE(backend.Prepare(kLimits).ok());
    ASSERT_TRUE(backend.Begin(MakeBatch({{0, tokens, {0, 1}}})).ok());
  }
  // Of a step of as many tokens as `logits` has rows.
  Routing RunRoute(const std::vector<float>& logits, int experts, int top_k, bool normalize) {
    const int64_t tokens = static_cast<int64_t>(logits.size()) / experts;
    Begin(backend(), static_cast<int>(tokens));
    Activations x(backend(), {tokens, experts}, logits);
    Routing routing{std::vector<int32_t>(tokens * top_k, -7),
                    std::vector<float>(tokens * top_k, kNan)};
    CHECK_OK(backend().Route({.logits = x.view(),
                              .top_k = top_k,
                              .normalize = normalize,
                              .experts = absl::MakeSpan(routing.experts),
                              .weights = absl::MakeSpan(routing.weights)}));
    return routing;
  }
};

TEST_P(ExpertsTest, RouteAgreesWithReference) {
  Random random(1);
  for (const int experts : {1, 2, 7, 8, 60, 129}) {
    for (const int top_k : {1, 2, 6, 8, 64}) {
      if (top_k > experts) continue;
      for (const bool normalize : {false, true}) {
        SCOPED_TRACE(absl::StrCat(top_k, " of ", experts, normalize ? ", normalised" : ""));
        const int64_t tokens = 67;
        const std::vector<float> logits = RandomFloats(random, tokens * experts, 3.0);
        const Routing routing = RunRoute(logits, experts, top_k, normalize);
        for (int64_t t = 0; t < tokens; ++t) {
          const reference::Routed want =
              reference::Route(logits.data() + t * experts, experts, top_k, normalize);
          for (int j = 0; j < top_k; ++j) {
            ASSERT_EQ(routing.experts[t * top_k + j], want.experts[j]) << t << ", " << j;
            // The argument of exp is rounded once, exp and its sum and quotient some more.
            const double span = std::abs(logits[t * experts + want.experts[0]] -
                                         logits[t * experts + want.experts[j]]);
            ASSERT_NEAR(routing.weights[t * top_k + j], want.weights[j],
                        (8 + span + experts / 2.0) * 0x1p-24 * want.weights[j]);
          }
        }
      }
    }
  }
}

TEST_P(ExpertsTest, RouteByScoreAgreesWithReference) {
  Random random(3);
  struct Shape {
    int experts, groups, top_groups, group_terms, top_k;
  };
  for (const Shape& s : {Shape{8, 1, 1, 1, 3}, Shape{12, 4, 2, 2, 5}, Shape{63, 7, 3, 1, 6},
                         Shape{256, 8, 4, 2, 8}, Shape{6, 6, 2, 1, 2}}) {
    for (const bool sigmoid : {false, true}) {
      for (const bool biased : {false, true}) {
        SCOPED_TRACE(absl::StrCat(s.top_k, " of ", s.experts, " in ", s.groups, sigmoid, biased));
        const reference::ScoredRule rule{
            .sigmoid = sigmoid,
            .bias = biased ? RandomFloats(random, s.experts, 0.3) : std::vector<float>(),
            .groups = s.groups,
            .top_groups = s.top_groups,
            .group_terms = s.group_terms,
            .top_k = s.top_k,
            .normalize = biased};
        const int64_t tokens = 67;
        const std::vector<float> logits = RandomFloats(random, tokens * s.experts, 2.0);
        const WeightPtr bias =
            biased ? PackFloats(backend(), {s.experts}, rule.bias, WeightRole::kVector) : nullptr;
        Begin(backend(), tokens);
        Activations x(backend(), {tokens, s.experts}, logits);
        std::vector<int32_t> chosen(tokens * s.top_k, -7);
        std::vector<float> weights(tokens * s.top_k, kNan);
        CHECK_OK(backend().Route({.logits = x.view(),
                                  .score = sigmoid ? ExpertScore::kSigmoid : ExpertScore::kSoftmax,
                                  .bias = bias.get(),
                                  .groups = {s.groups, s.top_groups, s.group_terms},
                                  .top_k = s.top_k,
                                  .normalize = rule.normalize,
                                  .experts = absl::MakeSpan(chosen),
                                  .weights = absl::MakeSpan(weights)}));
        for (int64_t t = 0; t < tokens; ++t) {
          const reference::Routed want =
              reference::RouteByScore(logits.data() + t * s.experts, s.experts, rule);
          for (int j = 0; j < s.top_k; ++j) {
            ASSERT_EQ(chosen[t * s.top_k + j], want.experts[j]) << t << ", " << j;
            // As above; logits are below 16.
            ASSERT_NEAR(weights[t * s.top_k + j], want.weights[j],
                        (24 + s.experts / 2.0) * 0x1p-24 * want.weights[j]);
          }
        }
      }
    }
  }
}

TEST_P(ExpertsTest, RefusesGroupsThatAreNone) {
  Begin(backend(), 1);
  Activations x(backend(), {1, 6});
  std::vector<int32_t> experts(3);
  std::vector<float> weights(3);
  for (const ExpertGroups& groups :
       {ExpertGroups{4, 1, 1}, ExpertGroups{3, 4, 1}, ExpertGroups{3, 0, 1}, ExpertGroups{3, 2, 3},
        ExpertGroups{3, 1, 1}, ExpertGroups{0, 0, 1}}) {
    const absl::Status status = backend().Route({.logits = x.view(),
                                                 .groups = groups,
                                                 .top_k = 3,
                                                 .experts = absl::MakeSpan(experts),
                                                 .weights = absl::MakeSpan(weights)});
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("groups"));
  }
}

TEST_P(ExpertsTest, EqualLogitsGoToTheLowerIndex) {
  const Routing routing = RunRoute({2, 5, 5, 2, 5, 2, /* */ 0, 0, 0, 0, 0, 0, /* */ -kInfinity, 1,
                                    -kInfinity, -kInfinity, 1, -kInfinity},
                                   6, 4, true);
  EXPECT_THAT(routing.experts, ElementsAre(1, 2, 4, 0, /* */ 0, 1, 2, 3, /* */ 1, 4, 0, 2));
  EXPECT_EQ(routing.weights[0], routing.weights[2]);
  EXPECT_EQ(routing.weights[4], 0.25f);
  EXPECT_EQ(routing.weights[8], 0.5f);
  EXPECT_EQ(routing.weights[11], 0.0f);
}

// A model may compute nonsense; what it computes must still name experts that exist, each once.
TEST_P(ExpertsTest, BrokenLogitsStillNameExperts) {
  for (const std::vector<float>& logits : std::vector<std::vector<float>>{
           {kNan, kNan, kNan, kNan, kNan},
           {1, kNan, 2, kNan, 3},
           {kNan, 2, 1, 3, kNan},
           {kInfinity, kInfinity, kNan, -kInfinity, 0},
           {-kInfinity, -kInfinity, -kInfinity, -kInfinity, -kInfinity}}) {
    for (const int top_k : {1, 3, 5}) {
      std::vector<int32_t> chosen = RunRoute(logits, 5, top_k, true).experts;
      std::sort(chosen.begin(), chosen.end());
      for (int j = 0; j < top_k; ++j) {
        EXPECT_TRUE(chosen[j] >= 0 && chosen[j] < 5);
        EXPECT_TRUE(j == 0 || chosen[j] != chosen[j - 1]);
      }
    }
  }
}

TEST_P(ExpertsTest, RowsComeAndGo) {
  Random random(2);
  for (const int64_t cols : {1, 7, 44, 1030}) {
    for (const int terms : {1, 2, 5}) {
      SCOPED_TRACE(absl::StrCat(cols, " columns, ", terms, " terms"));
      const int64_t tokens = 9;
      const int64_t rows = tokens * terms;
      Begin(backend(), tokens);
      const std::vector<float> values = RandomFloats(random, tokens * cols);
      std::vector<int32_t> from(rows);
      for (int32_t& row : from) row = static_cast<int32_t>(random.Below(tokens));
      Activations in(backend(), {tokens, cols}, values);
      Activations gathered(backend(), {rows, cols}, kNan);
      ASSERT_TRUE(
          backend().GatherRows({.in = in.view(), .rows = from, .out = gathered.view()}).ok());
      const std::vector<float> taken = gathered.Read();
      for (int64_t i = 0; i < rows * cols; ++i) {
        ASSERT_EQ(taken[i], values[from[i / cols] * cols + i % cols]);
      }

      std::vector<int32_t> back(rows);
      for (int32_t& row : back) row = static_cast<int32_t>(random.Below(rows));
      const std::vector<float> weights = RandomFloats(random, rows);
      const std::vector<float> residual = RandomFloats(random, tokens * cols);
      for (const bool accumulate : {false, true}) {
        Activations out(backend(), {tokens, cols},
                        accumulate ? residual : std::vector<float>(tokens * cols, kNan));
        ASSERT_TRUE(backend()
                        .CombineRows({.in = gathered.view(),
                                      .terms = terms,
                                      .rows = back,
                                      .weights = weights,
                                      .accumulate = accumulate,
                                      .out = out.view()})
                        .ok());
        const std::vector<float> sums = out.Read();
        for (int64_t i = 0; i < tokens * cols; ++i) {
          double sum = accumulate ? residual[i] : 0;
          double size = std::abs(sum);
          for (int64_t j = i / cols * terms; j < (i / cols + 1) * terms; ++j) {
            const double term = double{weights[j]} * taken[back[j] * cols + i % cols];
            sum += term;
            size += std::abs(term);
          }
          ASSERT_NEAR(sums[i], sum, (terms + 2) * 0x1p-24 * size) << i;
        }
      }
    }
  }
}

// What is not asked for is not looked at: rows of other experts may hold anything.
TEST_P(ExpertsTest, OtherRowsAreNotRead) {
  Begin(backend(), 3);
  const int64_t cols = 5;
  std::vector<float> values(4 * cols, kNan);
  for (int64_t c = 0; c < cols; ++c) values[2 * cols + c] = static_cast<float>(c);
  Activations in(backend(), {4, cols}, values);
  Activations out(backend(), {3, cols}, kNan);
  const std::vector<int32_t> rows = {2, 2, 2};
  const std::vector<float> weights = {1, 2, -1};
  ASSERT_TRUE(
      backend()
          .CombineRows(
              {.in = in.view(), .terms = 1, .rows = rows, .weights = weights, .out = out.view()})
          .ok());
  EXPECT_THAT(out.Read(), ElementsAre(0, 1, 2, 3, 4, 0, 2, 4, 6, 8, 0, -1, -2, -3, -4));
}

// The chain of a feed-forward with experts, over any part of the tokens.
class Mixture {
 public:
  static constexpr int kExperts = 5;
  static constexpr int kTopK = 3;
  static constexpr int64_t kHidden = 96;
  static constexpr int64_t kWidth = 70;

  explicit Mixture(Backend& backend) : backend_(backend) {
    Random random(3);
    router_ = PackFloats(backend, {kExperts, kHidden}, RandomFloats(random, kExperts * kHidden),
                         WeightRole::kLinear);
    for (int e = 0; e < kExperts; ++e) {
      experts_[e] = PackFloats(backend, {kHidden, kHidden},
                               RandomFloats(random, kHidden * kHidden, 0.1), WeightRole::kLinear);
    }
  }

  std::vector<float> Run(const std::vector<float>& values) {
    const int64_t tokens = static_cast<int64_t>(values.size()) / kHidden;
    CHECK_OK(backend_.Prepare(kLimits));
    CHECK_OK(backend_.Begin(MakeBatch({{0, static_cast<int>(tokens), {0, 1}}})));
    Activations in(backend_, {tokens, kHidden}, values);
    Activations logits(backend_, {tokens, kExperts}, kNan);
    CHECK_OK(backend_.Linear({.in = in.view(), .weight = router_.get(), .out = logits.view()}));
    std::vector<int32_t> experts(tokens * kTopK);
    std::vector<float> weights(tokens * kTopK);
    CHECK_OK(backend_.Route({.logits = logits.view(),
                             .top_k = kTopK,
                             .normalize = true,
                             .experts = absl::MakeSpan(experts),
                             .weights = absl::MakeSpan(weights)}));
    std::vector<int32_t> order(tokens * kTopK);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return experts[a] < experts[b]; });
    std::vector<int32_t> from(order.size());
    std::vector<int32_t> back(order.size());
    for (size_t i = 0; i < order.size(); ++i) {
      from[i] = order[i] / kTopK;
      back[order[i]] = static_cast<int32_t>(i);
    }
    Activations routed(backend_, {tokens * kTopK, kHidden}, kNan);
    CHECK_OK(backend_.GatherRows({.in = in.view(), .rows = from, .out = routed.view()}));
    Activations results(backend_, {tokens * kTopK, kHidden}, kNan);
    int64_t begin = 0;
    for (int e = 0; e < kExperts; ++e) {
      const int64_t count = std::count(experts.begin(), experts.end(), e);
      if (count == 0) continue;
      CHECK_OK(backend_.Linear({.in = Part(routed.view(), begin, count),
                                .weight = experts_[e].get(),
                                .out = Part(results.view(), begin, count)}));
      begin += count;
    }
    Activations out(backend_, {tokens, kHidden}, values);
    CHECK_OK(backend_.CombineRows({.in = results.view(),
                                   .terms = kTopK,
                                   .rows = back,
                                   .weights = weights,
                                   .accumulate = true,
                                   .out = out.view()}));
    return out.Read();
  }

 private:
  static MutableTensorView Part(const MutableTensorView& view, int64_t first, int64_t count) {
    return {view.as<char>() + first * RowBytes(view.dtype, kHidden), view.dtype, {count, kHidden}};
  }

  Backend& backend_;
  WeightPtr router_;
  WeightPtr experts_[kExperts];
};

TEST_P(ExpertsTest, TokensAloneAndTogetherGiveTheSameBits) {
  Mixture mixture(backend());
  Random random(4);
  const int64_t tokens = 83;
  const std::vector<float> values = RandomFloats(random, tokens * Mixture::kHidden);
  const std::vector<float> together = mixture.Run(values);
  for (const int64_t count : {1, 2, 5, 17, 64}) {
    for (int64_t t = 0; t < tokens; t += count) {
      const int64_t end = std::min(tokens, t + count) * Mixture::kHidden;
      const int64_t begin = t * Mixture::kHidden;
      const std::vector<float> part = mixture.Run({values.begin() + begin, values.begin() + end});
      ASSERT_TRUE(std::equal(part.begin(), part.end(), together.begin() + begin))
          << count << " tokens from " << t;
    }
  }
}

TEST_P(ExpertsTest, ThreadsDoNotChangeBits) {
  const std::unique_ptr<Backend> single = MakeBackend(GetParam(), 1);
  Random random(5);
  const std::vector<float> values = RandomFloats(random, 83 * Mixture::kHidden);
  EXPECT_EQ(Mixture(backend()).Run(values), Mixture(*single).Run(values));
}

TEST_P(ExpertsTest, WrongArgumentsAreRefused) {
  Begin(backend(), 2);
  Activations logits(backend(), {2, 4});
  Activations hidden(backend(), {2, 6});
  Activations wide(backend(), {4, 7});
  Activations routed(backend(), {4, 6});
  std::vector<int32_t> rows = {0, 1, 1, 0};
  std::vector<float> weights(4);
  const auto refuses = [](const absl::Status& status, const std::string& what) {
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  };
  const RouteArgs route = {.logits = logits.view(),
                           .top_k = 2,
                           .experts = absl::MakeSpan(rows),
                           .weights = absl::MakeSpan(weights)};
  const auto route_with = [&](auto change) {
    RouteArgs args = route;
    change(args);
    return backend().Route(args);
  };
  refuses(route_with([&](RouteArgs& a) { a.logits = routed.view(); }), "2 tokens");
  refuses(route_with([](RouteArgs& a) { a.top_k = 0; }), "top_k is 0, must be 1 to 64");
  refuses(route_with([](RouteArgs& a) { a.top_k = 65; }), "top_k is 65");
  refuses(route_with([](RouteArgs& a) { a.top_k = 5; }), "4 experts");
  refuses(route_with([](RouteArgs& a) { a.experts.remove_suffix(1); }), "experts are 3");
  refuses(route_with([](RouteArgs& a) { a.weights.remove_suffix(2); }), "weights are 2");
  EXPECT_TRUE(backend().Route(route).ok());

  rows = {0, 1, 1, 0};
  const GatherRowsArgs gather = {.in = hidden.view(), .rows = rows, .out = routed.view()};
  const auto gather_with = [&](auto change) {
    GatherRowsArgs args = gather;
    change(args);
    return backend().GatherRows(args);
  };
  Activations many(backend(), {2 * 64 + 1, 6});
  const std::vector<int32_t> zeros(2 * 64 + 1);
  const std::vector<int32_t> outside = {0, 2, 0, 0};
  const std::vector<int32_t> negative = {0, 1, -1, 0};
  refuses(gather_with([&](GatherRowsArgs& a) { a.in = routed.view(); }), "2 tokens");
  refuses(gather_with([&](GatherRowsArgs& a) { a.out = wide.view(); }), "width is 7");
  refuses(gather_with([](GatherRowsArgs& a) { a.rows.remove_suffix(1); }), "rows are 3");
  refuses(gather_with([&](GatherRowsArgs& a) { a.rows = outside; }), "rows have 2");
  refuses(gather_with([&](GatherRowsArgs& a) { a.rows = negative; }), "rows have -1");
  refuses(gather_with([&](GatherRowsArgs& a) {
            a.rows = zeros;
            a.out = many.view();
          }),
          "129 rows");
  refuses(gather_with([&](GatherRowsArgs& a) {
            a.rows.remove_suffix(2);
            a.out = hidden.view();
          }),
          "different tensors");
  EXPECT_TRUE(backend().GatherRows(gather).ok());

  const CombineRowsArgs combine = {
      .in = routed.view(), .terms = 2, .rows = rows, .weights = weights, .out = hidden.view()};
  const auto combine_with = [&](auto change) {
    CombineRowsArgs args = combine;
    change(args);
    return backend().CombineRows(args);
  };
  const std::vector<int32_t> beyond = {0, 1, 4, 0};
  refuses(combine_with([&](CombineRowsArgs& a) { a.out = routed.view(); }), "2 tokens");
  refuses(combine_with([&](CombineRowsArgs& a) { a.in = wide.view(); }), "expected 7");
  refuses(combine_with([](CombineRowsArgs& a) { a.terms = 0; }), "terms is 0");
  refuses(combine_with([](CombineRowsArgs& a) { a.terms = 3; }), "rows are 4, expected 6");
  refuses(combine_with([](CombineRowsArgs& a) { a.weights.remove_suffix(1); }), "weights are 3");
  refuses(combine_with([&](CombineRowsArgs& a) { a.rows = beyond; }), "rows have 4");
  refuses(combine_with([&](CombineRowsArgs& a) { a.in = hidden.view(); }), "different tensors");
  EXPECT_TRUE(backend().CombineRows(combine).ok());
}

INSTANTIATE_BACKENDS(ExpertsTest);

}  // namespace
}  // namespace transmla
