// Real models against what transformers computes in float32 from the same GGUF file
// (tests/golden/make_logits.py): the logits after 20 prompts, and 64 greedy tokens of each.
//
// All prompts run together as a server would run them: in chunks, prompts beside decodes, several
// sequences a step. The summary line of each test is what the project reports.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "engine/base/check.h"
#include "tests/engine/model/model_runner.h"
#include "tests/testing/real_models.h"

namespace transmla {
namespace {

using Chunk = ModelRunner::Chunk;

// Greedy tokens whose reference logits are closer than this may be taken for one another.
constexpr double kTie = 1e-3;
constexpr int kChunkTokens = 48;  // of a prompt a step
constexpr int kRunning = 8;       // sequences a step

struct Prompt {
  std::string name;
  std::vector<int> ids;
  double mean = 0;  // of all logits after the prompt
  double norm = 0;
  std::vector<int> top_ids;
  std::vector<float> top_logits;
  int stride = 0;
  std::vector<float> sampled;  // logits 0, stride, 2 · stride, …
  std::vector<int> greedy_ids;
  std::vector<double> greedy_gaps;  // between the best two logits of each greedy step
};

struct Reference {
  std::string file;
  std::vector<Prompt> prompts;
};

Reference ReadReference(const std::string& name) {
  std::ifstream file(absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/logits/", name, ".json"));
  const nlohmann::json root = nlohmann::json::parse(file);
  Reference reference;
  reference.file = root.at("model").at("file");
  for (const auto& [key, entry] : root.items()) {
    if (!entry.contains("greedy_ids")) continue;
    reference.prompts.push_back({.name = key,
                                 .ids = entry.at("ids"),
                                 .mean = entry.at("mean"),
                                 .norm = entry.at("norm"),
                                 .top_ids = entry.at("top_ids"),
                                 .top_logits = entry.at("top_logits"),
                                 .stride = entry.at("sample_stride"),
                                 .sampled = entry.at("sample_logits"),
                                 .greedy_ids = entry.at("greedy_ids"),
                                 .greedy_gaps = entry.at("greedy_gaps")});
  }
  return reference;
}

// Differences to the reference, over all prompts.
struct Summary {
  double largest = 0;
  double sum = 0;
  int64_t compared = 0;
  double mean_logit = 0;  // largest difference of the mean of a prompt's logits
  double norm = 0;        // largest relative difference of their norm
  int64_t greedy_tokens = 0;
  int ties = 0;
  double least_gap = 1e9;

  void Take(double ours, double theirs) {
    const double difference = std::abs(ours - theirs);
    if (!(difference <= largest)) largest = difference;  // NaN sticks
    sum += difference;
    ++compared;
  }
};

void CompareLogits(const Prompt& prompt, const std::vector<float>& logits, Summary& summary) {
  for (size_t i = 0; i < prompt.top_ids.size(); ++i) {
    summary.Take(logits[prompt.top_ids[i]], prompt.top_logits[i]);
  }
  for (size_t i = 0; i < prompt.sampled.size(); ++i) {
    summary.Take(logits[i * prompt.stride], prompt.sampled[i]);
  }
  double total = 0;
  double squares = 0;
  for (const float logit : logits) {
    total += logit;
    squares += double{logit} * logit;
  }
  const double mean = total / static_cast<double>(logits.size());
  summary.mean_logit = std::max(summary.mean_logit, std::abs(mean - prompt.mean));
  summary.norm = std::max(summary.norm, std::abs(std::sqrt(squares) / prompt.norm - 1));
}

// Compares the token that our logits choose after `step` greedy tokens; true if it is the
// reference's, or as good as that.
bool CompareGreedy(const Prompt& prompt, int step, const std::vector<float>& logits,
                   Summary& summary) {
  const int ours =
      static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  const int theirs = prompt.greedy_ids[step];
  const double gap = prompt.greedy_gaps[step];
  ++summary.greedy_tokens;
  summary.least_gap = std::min(summary.least_gap, gap);
  if (ours == theirs) return true;
  std::cout << absl::StrFormat("%s: greedy token %d is %d, the reference has %d with a gap of %g\n",
                               prompt.name, step, ours, theirs, gap);
  ++summary.ties;
  return gap < kTie;
}

// A prompt on its way through the model.
struct Running {
  const Prompt* prompt;
  int prefilled = 0;
  int generated = 0;  // of the reference's greedy tokens, which go in whatever ours were
};

Chunk NextChunk(int sequence, const Running& state) {
  const std::vector<int>& ids = state.prompt->ids;
  if (state.prefilled < static_cast<int>(ids.size())) {
    const int end = std::min<int>(state.prefilled + kChunkTokens, static_cast<int>(ids.size()));
    return {sequence, {ids.begin() + state.prefilled, ids.begin() + end}};
  }
  return {sequence, {state.prompt->greedy_ids[state.generated - 1]}};
}

Summary RunAll(ModelRunner& runner, const Reference& reference) {
  Summary summary;
  std::map<int, Running> running;  // by sequence
  size_t next = 0;
  while (next < reference.prompts.size() || !running.empty()) {
    while (next < reference.prompts.size() && running.size() < kRunning) {
      running[static_cast<int>(next)] = {&reference.prompts[next]};
      ++next;
    }
    std::vector<Chunk> chunks;
    for (const auto& [sequence, state] : running) chunks.push_back(NextChunk(sequence, state));
    const auto logits = runner.Step(chunks, ModelRunner::Logits::kLastTokens);
    CHECK_OK(logits.status());
    for (size_t i = 0; i < chunks.size(); ++i) {
      Running& state = running[chunks[i].sequence];
      const Prompt& prompt = *state.prompt;
      const int length = static_cast<int>(prompt.ids.size());
      if (state.prefilled < length) {
        state.prefilled += static_cast<int>(chunks[i].ids.size());
        if (state.prefilled < length) continue;
        CompareLogits(prompt, (*logits)[i], summary);
      }
      EXPECT_TRUE(CompareGreedy(prompt, state.generated, (*logits)[i], summary)) << prompt.name;
      if (++state.generated == static_cast<int>(prompt.greedy_ids.size())) {
        runner.End(chunks[i].sequence);
        running.erase(chunks[i].sequence);
      }
    }
  }
  return summary;
}

// What a step with company gives, a step alone must give too.
void ExpectSameAlone(ModelRunner& runner, const Reference& reference) {
  std::vector<Chunk> chunks;
  for (int i = 0; i < 4; ++i) {
    std::vector<int> ids = reference.prompts[i].ids;
    ids.resize(std::min<size_t>(ids.size(), 12));
    chunks.push_back({i, ids});
  }
  const auto together = runner.Step(chunks, ModelRunner::Logits::kLastTokens);
  CHECK_OK(together.status());
  for (int i = 0; i < 4; ++i) {
    runner.End(i);
    std::vector<float> alone;
    for (const int id : chunks[i].ids) {
      const auto logits = runner.Step({{i, {id}}}, ModelRunner::Logits::kLastTokens);
      CHECK_OK(logits.status());
      alone = (*logits)[0];
    }
    runner.End(i);
    EXPECT_TRUE(alone == (*together)[i]) << reference.prompts[i].name;
  }
}

// Bounds each logit's difference. Some ten times what AVX2 shows (4.2e-5 for SmolLM2, 2.0e-5 for
// Qwen, of logits up to 37): other instruction sets sum in other orders.
constexpr double kTolerance = 4e-4;

void TestModel(const std::string& name) {
  const Reference reference = ReadReference(name);
  ASSERT_EQ(reference.prompts.size(), 20u);
  const std::string path = testing::RealModelPath(reference.file);
  if (!std::filesystem::exists(path)) {
    GTEST_SKIP() << reference.file << " is absent: scripts/fetch-models " << name;
  }
  const auto runner = ModelRunner::Open(path, {.limits = {.max_tokens = kRunning * kChunkTokens,
                                                          .max_sequences = kRunning,
                                                          .max_logit_tokens = kRunning,
                                                          .max_context_tokens = 512},
                                               .pages = kRunning * 8});
  ASSERT_TRUE(runner.ok()) << runner.status();
  const Summary summary = RunAll(**runner, reference);
  std::cout << absl::StrFormat(
      "%s: %d prompts, %d logits compared: largest difference %.3g, mean %.3g (largest of a mean "
      "%.3g, of a norm %.3g relative); %d greedy tokens, %d differ at ties below %g (least gap "
      "%.3g)\n",
      reference.file, reference.prompts.size(), summary.compared, summary.largest,
      summary.sum / static_cast<double>(summary.compared), summary.mean_logit, summary.norm,
      summary.greedy_tokens, summary.ties, kTie, summary.least_gap);
  EXPECT_LE(summary.largest, kTolerance);
  EXPECT_LE(summary.sum / static_cast<double>(summary.compared), kTolerance / 10);
  EXPECT_LE(summary.mean_logit, kTolerance);
  EXPECT_LE(summary.norm, 1e-5);
  EXPECT_EQ(summary.greedy_tokens, 20 * 64);
  ExpectSameAlone(**runner, reference);
}

TEST(RealModelTest, SmolLm2) { TestModel("smollm2"); }

TEST(RealModelTest, Qwen) { TestModel("qwen"); }

}  // namespace
}  // namespace transmla
