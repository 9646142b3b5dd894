// What each family supports: the table of docs/conversion.md, section 10.
//
// The document holds what the code says about the tiny models of tests/golden. To write the table
// anew, run this test with TRANSMLA_WRITE_DOCS=1.
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/backend/cpu/create.h"
#include "engine/base/check.h"
#include "engine/convert/source_weights.h"
#include "engine/convert/stock_model.h"
#include "engine/model/decoder.h"
#include "engine/model/family.h"

namespace transmla {
namespace {

constexpr char kFirstLine[] =
    "| family | Hugging Face | GGUF | runs | converts to MLA | in format deepseek-v3 |\n";

// A model of each family. Where features are optional, one that has them, and one that has not.
struct Fixture {
  const char* family;
  const char* path;  // below tests/golden/tiny_models
};

constexpr Fixture kFixtures[] = {
    {"llama", "llama_tied"}, {"mistral", "mistral"},     {"mixtral", "mixtral"}, {"qwen2", "qwen2"},
    {"qwen3", "qwen3"},      {"qwen3_moe", "qwen3_moe"}, {"mimo", "mimo"},       {"phi3", "phi3"},
    {"gemma2", "gemma2"},    {"gemma3", "gemma3"},       {"transmla", "mla"},
};

std::shared_ptr<const CheckpointReader> Open(const std::string& path) {
  auto checkpoint =
      OpenCheckpoint(absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/tiny_models/", path));
  CHECK_OK(checkpoint.status());
  return *std::move(checkpoint);
}

// "yes", or why not.
std::string YesOr(const absl::Status& status, const std::string& path) {
  if (status.ok()) return "yes";
  return absl::StrReplaceAll(status.message(), {{absl::StrCat(path, ": "), ""}});
}

std::string Runs(const std::shared_ptr<const CheckpointReader>& checkpoint) {
  auto backend = CreateCpuBackend({.threads = 1});
  CHECK_OK(backend.status());
  const auto decoder = LoadDecoder(
      checkpoint, backend->get(),
      {.max_tokens = 4, .max_sequences = 1, .max_logit_tokens = 4, .max_context_tokens = 64});
  return YesOr(decoder.status(), checkpoint->path());
}

std::string Converts(const std::shared_ptr<const CheckpointReader>& checkpoint) {
  const auto spec = ReadModelSpec(*checkpoint);
  CHECK_OK(spec.status());
  return YesOr(SourceWeights::Create(checkpoint, *spec).status(), checkpoint->path());
}

// A dash: not converted at all.
std::string ConvertsToStock(const std::shared_ptr<const CheckpointReader>& checkpoint) {
  if (Converts(checkpoint) != "yes") return "—";
  return YesOr(CheckStockFormat(*ReadModelSpec(*checkpoint)), checkpoint->path());
}

// Class names begin with a capital, GGUF's architectures do not.
std::string Architectures(const Family& family, bool gguf) {
  std::vector<absl::string_view> names;
  for (const absl::string_view name : family.architectures) {
    if (absl::ascii_islower(static_cast<unsigned char>(name[0])) == gguf) names.push_back(name);
  }
  return names.empty() ? "—" : absl::StrJoin(names, ", ");
}

std::string Table() {
  std::string table = absl::StrCat(kFirstLine, "|---|---|---|---|---|---|\n");
  for (const Family* family : Families()) {
    for (const Fixture& fixture : kFixtures) {
      if (fixture.family != family->name) continue;
      const auto checkpoint = Open(fixture.path);
      absl::StrAppend(&table, "| ", family->name, " | ", Architectures(*family, false), " | ",
                      Architectures(*family, true), " | ", Runs(checkpoint), " | ",
                      Converts(checkpoint), " | ", ConvertsToStock(checkpoint), " |\n");
    }
  }
  return table;
}

TEST(FamiliesTest, EveryFamilyHasAFixtureOfItsOwn) {
  std::set<std::string> covered;
  for (const Fixture& fixture : kFixtures) {
    const auto spec = ReadModelSpec(*Open(fixture.path));
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->family, fixture.family);
    covered.insert(spec->family);
  }
  for (const Family* family : Families()) EXPECT_TRUE(covered.contains(std::string(family->name)));
}

TEST(FamiliesTest, TheDocumentSaysWhatTheCodeDoes) {
  const std::string path = absl::StrCat(TRANSMLA_SOURCE_DIR, "/docs/conversion.md");
  std::ifstream file(path);
  std::string document(std::istreambuf_iterator<char>(file), {});
  const size_t begin = document.find(kFirstLine);
  ASSERT_NE(begin, std::string::npos) << path << " has no table of families";
  size_t end = begin;
  while (end < document.size() && document[end] == '|') end = document.find('\n', end) + 1;
  const std::string table = Table();
  if (std::getenv("TRANSMLA_WRITE_DOCS") != nullptr) {
    std::ofstream(path) << document.substr(0, begin) << table << document.substr(end);
  }
  EXPECT_EQ(document.substr(begin, end - begin), table) << "write it with TRANSMLA_WRITE_DOCS=1";
}

// What latent models cannot carry is refused by name, in every file format.
TEST(FamiliesTest, ConversionRefusesWhatItWouldLose) {
  using ::testing::HasSubstr;
  const std::pair<const char*, const char*> cases[] = {
      {"mistral", "a sliding window"},
      {"qwen3", "norms of queries and keys"},
      {"qwen3_gguf/model.gguf", "norms of queries and keys"},
      {"qwen3_moe", "norms of queries and keys"},
      {"qwen3_moe_gguf/model.gguf", "norms of queries and keys"},
      {"phi3", "a sliding window"},
      {"gemma2", "a sliding window"},
      {"gemma2_gguf/model.gguf", "a sliding window"},
      {"gemma3_gguf/model.gguf", "norms of queries and keys"},
  };
  for (const auto& [path, feature] : cases) {
    const auto checkpoint = Open(path);
    const auto spec = ReadModelSpec(*checkpoint);
    ASSERT_TRUE(spec.ok()) << spec.status();
    const absl::Status status = SourceWeights::Create(checkpoint, *spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << path;
    EXPECT_THAT(std::string(status.message()), HasSubstr(feature)) << path;
  }
}

TEST(FamiliesTest, MistralWithoutAWindowConverts) {
  const auto checkpoint = Open("mistral");
  auto spec = ReadModelSpec(*checkpoint);
  ASSERT_TRUE(spec.ok()) << spec.status();
  spec->sliding_window.clear();
  const auto weights = SourceWeights::Create(checkpoint, *spec);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_TRUE(weights->Attention(0).ok());
}

TEST(FamiliesTest, MixtralWithAWindowDoesNot) {
  const auto checkpoint = Open("mixtral");
  auto spec = ReadModelSpec(*checkpoint);
  ASSERT_TRUE(spec.ok()) << spec.status();
  spec->sliding_window = {5, 5};
  EXPECT_THAT(std::string(SourceWeights::Create(checkpoint, *spec).status().message()),
              ::testing::HasSubstr("a sliding window"));
}

// Mixtral's names and llama.cpp's stacks become DeepSeek's names.
TEST(FamiliesTest, ExpertsAreKeptUnderOneName) {
  for (const char* path : {"mixtral", "mixtral_q8_0_gguf/model.gguf"}) {
    SCOPED_TRACE(path);
    const auto checkpoint = Open(path);
    const auto spec = ReadModelSpec(*checkpoint);
    ASSERT_TRUE(spec.ok()) << spec.status();
    const auto weights = SourceWeights::Create(checkpoint, *spec);
    ASSERT_TRUE(weights.ok()) << weights.status();
    std::map<std::string, Shape> shapes;
    for (const KeptTensor& kept : weights->kept()) {
      const auto view = SourceView(*checkpoint, kept);
      ASSERT_TRUE(view.ok()) << view.status();
      EXPECT_TRUE(shapes.emplace(kept.name, view->shape).second) << kept.name;
    }
    EXPECT_EQ(shapes["model.layers.1.mlp.gate.weight"], Shape({5, 64}));
    for (int e = 0; e < 5; ++e) {
      const std::string expert = absl::StrCat("model.layers.1.mlp.experts.", e, ".");
      EXPECT_EQ(shapes[expert + "gate_proj.weight"], Shape({32, 64}));
      EXPECT_EQ(shapes[expert + "up_proj.weight"], Shape({32, 64}));
      EXPECT_EQ(shapes[expert + "down_proj.weight"], Shape({64, 32}));
    }
    // A layer: router, 15 of experts, two norms, o_proj; embedding, final norm and output.
    EXPECT_EQ(shapes.size(), 2u * (1 + 15 + 3) + 3);
  }
}

TEST(FamiliesTest, LayersThatGuessFurtherTokensAreNotConverted) {
  const auto checkpoint = Open("mimo");
  const auto spec = ReadModelSpec(*checkpoint);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const auto weights = SourceWeights::Create(checkpoint, *spec);
  ASSERT_TRUE(weights.ok()) << weights.status();
  for (const KeptTensor& kept : weights->kept()) {
    EXPECT_THAT(kept.name, ::testing::Not(::testing::HasSubstr("mtp_layers")));
  }
}

// Each feature by itself: a model may have any one of them.
TEST(FamiliesTest, EveryFeatureIsRefusedByItself) {
  const auto checkpoint = Open("llama_tied");
  const auto plain = ReadModelSpec(*checkpoint);
  ASSERT_TRUE(plain.ok()) << plain.status();
  EXPECT_TRUE(SourceWeights::Create(checkpoint, *plain).ok());
  void (*const changes[])(ModelSpec&) = {
      [](ModelSpec& s) { s.qk_norm = true; },
      [](ModelSpec& s) {
        s.sliding_window = {0, 7};
      },
      [](ModelSpec& s) { s.attention_soft_cap = 50; },
      [](ModelSpec& s) { s.final_soft_cap = 30; },
      [](ModelSpec& s) { s.post_norms = true; },
      [](ModelSpec& s) { s.activation = Activation::kGeluTanh; },
      [](ModelSpec& s) { s.embedding_scale = 8; },
  };
  for (const auto change : changes) {
    ModelSpec spec = *plain;
    change(spec);
    EXPECT_EQ(SourceWeights::Create(checkpoint, spec).status().code(),
              absl::StatusCode::kUnimplemented);
  }
}

}  // namespace
}  // namespace transmla
