// The tiny models of tests/golden against the logits that transformers gives for them, and against
// themselves in every way a sequence can be cut into steps.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/base/check.h"
#include "engine/base/cpu_info.h"
#include "engine/base/random.h"
#include "tests/engine/model/model_runner.h"
#include "tests/testing/golden_tensors.h"

namespace transmla {
namespace {

using Chunk = ModelRunner::Chunk;

constexpr int kPrompts = 3;  // of 1, 6 and 33 tokens

struct TinyModel {
  const char* folder;
  const char* file = "";  // empty: the folder is the checkpoint
  AttentionKind attention = AttentionKind::kGqa;

  std::string Path(const std::string& name) const {
    return absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/tiny_models/", folder, "/", name);
  }
};

constexpr TinyModel kModels[] = {
    {"llama_tied"},
    {"llama_tied_q8_0_gguf", "model.gguf"},
    {"llama_untied_scaled_sharded"},
    {"llama_untied_scaled_f16_gguf", "model.gguf"},
    {"qwen2"},
    {"mistral"},
    {"mistral_gguf", "model.gguf"},
    {"qwen3"},
    {"qwen3_biased"},
    {"qwen3_gguf", "model.gguf"},
    {"mixtral"},
    {"mixtral_q8_0_gguf", "model.gguf"},
    {"qwen3_moe"},
    {"qwen3_moe_stepped"},
    {"qwen3_moe_gguf", "model.gguf"},
    {"mimo"},
    {"phi3"},
    {"phi3_gguf", "model.gguf"},
    {"phi3_longrope"},
    {"phi3_longrope_gguf", "model.gguf"},
    {"gemma2"},
    {"gemma2_gguf", "model.gguf"},
    {"gemma3"},
    {"gemma3_gguf", "model.gguf"},
    {"mla", "", AttentionKind::kMla},
    {"mla_q_lora", "", AttentionKind::kMla},
    {"converted", "", AttentionKind::kMla},
    {"deepseek_v2", "", AttentionKind::kMla},
    {"deepseek_v3", "", AttentionKind::kMla},
};

struct Reference {
  std::vector<std::vector<int>> prompts;
  std::vector<std::vector<float>> logits;  // a prompt: [tokens, vocabulary]
};

Reference ReadReference(const TinyModel& model) {
  Reference reference;
  std::ifstream json(model.Path("reference.json"));
  reference.prompts =
      nlohmann::json::parse(json).at("prompts").get<std::vector<std::vector<int>>>();
  const testing::GoldenTensors tensors(model.Path("reference.safetensors"));
  for (int i = 0; i < kPrompts; ++i) {
    reference.logits.push_back(tensors.Get<float>(absl::StrCat("logits.", i)));
  }
  CHECK_EQ(reference.logits.size(), reference.prompts.size());
  return reference;
}

struct Difference {
  double largest = 0;
  double mean = 0;
};

Difference Compare(const std::vector<float>& ours, const std::vector<float>& theirs) {
  CHECK_EQ(ours.size(), theirs.size());
  Difference difference;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double d = std::abs(double{ours[i]} - theirs[i]);
    difference.mean += d / static_cast<double>(ours.size());
    difference.largest = d <= difference.largest ? difference.largest : d;  // NaN sticks
  }
  return difference;
}

// Both sides compute in float32 and sum in different orders. A logit is the end of a chain of
// products (7 a layer and the output, so 15 of two layers) of at most 64 terms, whose roundings of
// 2^-24 add up like a random walk: sqrt(15 · 64) · 2^-24 of its size, in either program. Some
// 20,000 logits are looked at, so the largest may lie five standard deviations out.
double Tolerance(const ModelSpec& spec, const std::vector<float>& logits) {
  float largest = 0;
  for (const float logit : logits) largest = std::max(largest, std::abs(logit));
  const int products = 7 * spec.num_layers + 1;
  return 5 * std::sqrt(2.0 * products * 64) * 0x1p-24 * largest;
}

struct Case {
  TinyModel model;
  std::string instruction_set;
};

class GoldenTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::string& set = GetParam().instruction_set;
    if ((set == "avx2" && !GetCpuInfo().avx2) || (set == "avx512" && !GetCpuInfo().avx512)) {
      GTEST_SKIP() << "this machine lacks " << set;
    }
    reference_ = ReadReference(GetParam().model);
  }

  std::unique_ptr<ModelRunner> Open(ModelRunner::Options options = {}) {
    options.instruction_set = GetParam().instruction_set;
    auto runner =
        ModelRunner::Open(GetParam().model.Path(GetParam().model.file), std::move(options));
    CHECK_OK(runner.status());
    return *std::move(runner);
  }

  const Reference& reference() const { return reference_; }

  // Logits of all tokens of a prompt in one step, nothing beside it.
  std::vector<float> Alone(int prompt) {
    auto logits = Open()->Step({{0, reference_.prompts[prompt]}});
    CHECK_OK(logits.status());
    return (*logits)[0];
  }

  void ExpectSameBitsInChunks(const ModelRunner::Options& options, const std::vector<int>& ids,
                              Random& random);

 private:
  Reference reference_;
};

std::vector<std::vector<float>> MustStep(ModelRunner& runner, const std::vector<Chunk>& chunks) {
  auto logits = runner.Step(chunks);
  CHECK_OK(logits.status());
  return *std::move(logits);
}

// A sequence in one step, and in chunks of up to 90 tokens.
void GoldenTest::ExpectSameBitsInChunks(const ModelRunner::Options& options,
                                        const std::vector<int>& ids, Random& random) {
  const std::vector<float> alone = MustStep(*Open(options), {{0, ids}})[0];
  const std::unique_ptr<ModelRunner> runner = Open(options);
  std::vector<float> logits;
  for (size_t at = 0; at < ids.size();) {
    const size_t count = std::min<size_t>(ids.size() - at, 1 + random.Below(90));
    const std::vector<float> rows =
        MustStep(*runner, {{0, {ids.begin() + at, ids.begin() + at + count}}})[0];
    logits.insert(logits.end(), rows.begin(), rows.end());
    at += count;
  }
  EXPECT_TRUE(logits == alone) << Compare(logits, alone).largest;
  EXPECT_TRUE(std::isfinite(Compare(logits, alone).largest));
}

TEST_P(GoldenTest, GivesTheLogitsOfTransformers) {
  const ModelSpec spec = Open()->spec();
  EXPECT_EQ(spec.attention, GetParam().model.attention);
  for (int i = 0; i < kPrompts; ++i) {
    const std::vector<float>& expected = reference().logits[i];
    EXPECT_LE(Compare(Alone(i), expected).largest, Tolerance(spec, expected)) << "prompt " << i;
  }
}

// The logits of a token never depend on where its prompt was cut.
TEST_P(GoldenTest, ChunksGiveTheSameBits) {
  const std::vector<int>& prompt = reference().prompts[kPrompts - 1];
  const std::vector<float> alone = Alone(kPrompts - 1);
  for (const size_t size : {1, 2, 5, 16, 31}) {
    const std::unique_ptr<ModelRunner> runner = Open();
    std::vector<float> logits;
    for (size_t at = 0; at < prompt.size(); at += size) {
      const std::vector<int> part(prompt.begin() + at,
                                  prompt.begin() + std::min(at + size, prompt.size()));
      const std::vector<float> rows = MustStep(*runner, {{0, part}})[0];
      logits.insert(logits.end(), rows.begin(), rows.end());
    }
    EXPECT_TRUE(logits == alone) << "in chunks of " << size << ": largest difference "
                                 << Compare(logits, alone).largest;
  }
}

// Sequences join and leave at every step, prompts beside decodes, on pages that others have used.
TEST_P(GoldenTest, CompanyDoesNotChangeBits) {
  std::vector<std::vector<float>> alone;
  for (int i = 0; i < kPrompts; ++i) alone.push_back(Alone(i));
  const std::unique_ptr<ModelRunner> runner = Open();
  const size_t vocabulary = runner->spec().vocab_size;
  Random random(5);
  struct Running {
    int prompt;
    size_t done;
  };
  std::map<int, Running> running;  // by sequence
  int started = 0;
  while (started < 40 || !running.empty()) {
    while (started < 40 && running.size() < 6) {
      running[started++] = {static_cast<int>(random.Below(kPrompts)), 0};
    }
    std::vector<Chunk> chunks;
    for (const auto& [sequence, state] : running) {
      const std::vector<int>& prompt = reference().prompts[state.prompt];
      const size_t count = 1 + random.Below(random.Below(2) == 0 ? 1 : prompt.size() - state.done);
      chunks.push_back(
          {sequence, {prompt.begin() + state.done, prompt.begin() + state.done + count}});
    }
    const std::vector<std::vector<float>> logits = MustStep(*runner, chunks);
    for (size_t i = 0; i < chunks.size(); ++i) {
      Running& state = running[chunks[i].sequence];
      const std::vector<float>& whole = alone[state.prompt];
      ASSERT_TRUE(
          std::equal(logits[i].begin(), logits[i].end(), whole.begin() + state.done * vocabulary))
          << "sequence " << chunks[i].sequence << " from token " << state.done;
      state.done += chunks[i].ids.size();
      if (state.done == reference().prompts[state.prompt].size()) {
        runner->End(chunks[i].sequence);
        running.erase(chunks[i].sequence);
      }
    }
  }
}

TEST_P(GoldenTest, ThreadsDoNotChangeBits) {
  const std::vector<float> two = Alone(kPrompts - 1);
  for (const int threads : {1, 3}) {
    const std::unique_ptr<ModelRunner> runner = Open({.threads = threads});
    EXPECT_TRUE(MustStep(*runner, {{0, reference().prompts[kPrompts - 1]}})[0] == two) << threads;
  }
}

// Contexts of several pages and spans of attention: more than the prompts of the references have.
TEST_P(GoldenTest, LongContextsGiveTheSameBitsInChunks) {
  Random random(6);
  std::vector<int> ids(400);
  for (int& id : ids) id = static_cast<int>(random.Below(400));
  for (const DType dtype : {DType::kF32, DType::kI8}) {
    const ModelRunner::Options options = {.cache_dtype = dtype,
                                          .limits = {.max_tokens = 400,
                                                     .max_sequences = 2,
                                                     .max_logit_tokens = 400,
                                                     .max_context_tokens = 400}};
    ExpectSameBitsInChunks(options, ids, random);
  }
}

// Caches of fewer bits round keys and values once: BF16 by 2^-9 and F16 by 2^-12 of their own size
// at most, 0.0016 and 0.0002 in the root mean square; I8 by 1/254 of the greatest of their group,
// which of 16 to 32 normal variates is about twice their deviation: 2 / (127 · sqrt(12)) = 0.0045,
// three times as much as BF16.
TEST_P(GoldenTest, SmallCachesRoundOnce) {
  const std::vector<float>& expected = reference().logits[kPrompts - 1];
  const auto mean_with = [&](DType dtype) {
    const std::unique_ptr<ModelRunner> runner = Open({.cache_dtype = dtype});
    return Compare(MustStep(*runner, {{0, reference().prompts[kPrompts - 1]}})[0], expected).mean;
  };
  const double f32 = mean_with(DType::kF32);
  const double f16 = mean_with(DType::kF16);
  const double bf16 = mean_with(DType::kBF16);
  EXPECT_LT(f32 * 10, f16);
  EXPECT_LT(f16 * 2, bf16);
  EXPECT_LT(bf16, 0x1p-9 * 10);  // logits reach 7
  const double int8 = mean_with(DType::kI8);
  EXPECT_LT(bf16, int8);
  // Elements of a converted latent are components of falling size: the greatest is further out.
  EXPECT_LT(int8, bf16 * (std::string(GetParam().model.folder) == "converted" ? 6 : 4));
}

// Latent models over keys and values of every head, which is how transformers computes them.
class ExpandedGoldenTest : public GoldenTest {
 protected:
  ModelRunner::Options Expanded(int from, int tokens) const {
    return {.limits = {.max_tokens = tokens,
                       .max_sequences = 2,
                       .max_logit_tokens = tokens,
                       .max_context_tokens = tokens,
                       .expanded_attention = true},
            .expanded_from = from};
  }
};

TEST_P(ExpandedGoldenTest, GivesTheLogitsOfTransformers) {
  for (int i = 0; i < kPrompts; ++i) {
    const std::vector<float>& expected = reference().logits[i];
    for (const int from : {0, 10}) {
      const std::unique_ptr<ModelRunner> runner = Open(Expanded(from, 256));
      const std::vector<float> logits = MustStep(*runner, {{0, reference().prompts[i]}})[0];
      EXPECT_LE(Compare(logits, expected).largest, Tolerance(runner->spec(), expected))
          << "prompt " << i << " from " << from;
    }
  }
}

// The form of a token is its position's: chunks that cross from one form to the other change
// nothing.
TEST_P(ExpandedGoldenTest, ChunksGiveTheSameBits) {
  Random random(6);
  std::vector<int> ids(700);
  for (int& id : ids) id = static_cast<int>(random.Below(400));
  ExpectSameBitsInChunks(Expanded(256, 700), ids, random);
}

std::vector<Case> CasesOf(bool latent_only) {
  std::vector<Case> cases;
  for (const TinyModel& model : kModels) {
    if (latent_only && model.attention != AttentionKind::kMla) continue;
    for (const char* set : {"generic", "avx2", "avx512"}) cases.push_back({model, set});
  }
  return cases;
}

std::string NameOf(const ::testing::TestParamInfo<Case>& test) {
  return absl::StrCat(test.param.model.folder, "_", test.param.instruction_set);
}

INSTANTIATE_TEST_SUITE_P(TinyModels, GoldenTest, ::testing::ValuesIn(CasesOf(false)), NameOf);
INSTANTIATE_TEST_SUITE_P(TinyModels, ExpandedGoldenTest, ::testing::ValuesIn(CasesOf(true)),
                         NameOf);

}  // namespace
}  // namespace transmla
