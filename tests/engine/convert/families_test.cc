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

// Gate and up of one matrix become two tensors, gate first.
TEST(FamiliesTest, FusedMatricesAreTakenApart) {
  for (const char* path : {"phi3", "phi3_gguf/model.gguf"}) {
    SCOPED_TRACE(path);
    const auto checkpoint = Open(path);
    const auto spec = ReadModelSpec(*checkpoint);
    ASSERT_TRUE(spec.ok()) << spec.status();
    const auto weights = SourceWeights::Create(checkpoint, *spec);
    ASSERT_TRUE(weights.ok()) << weights.status();
    std::map<std::string, TensorView> views;
    for (const KeptTensor& kept : weights->kept()) {
      const auto view = SourceView(*checkpoint, kept);
      ASSERT_TRUE(view.ok()) << view.status();
      views[kept.name] = *view;
    }
    const TensorView& gate = views["model.layers.1.mlp.gate_proj.weight"];
    const TensorView& up = views["model.layers.1.mlp.up_proj.weight"];
    EXPECT_EQ(gate.shape, Shape({52, 56}));
    EXPECT_EQ(up.shape, gate.shape);
    EXPECT_EQ(up.as<char>(), gate.as<char>() + 52 * 56 * 2);
    const auto attention = weights->Attention(1);
    ASSERT_TRUE(attention.ok()) << attention.status();
    EXPECT_EQ(attention->q.rows(), 56);
    EXPECT_EQ(attention->k.rows(), 28);
    EXPECT_EQ(attention->v.rows(), 28);
  }
}

// Hugging Face's files of gemma hold norms less 1, llama.cpp's do not.
TEST(FamiliesTest, NormsAreKeptWhole) {
  for (const auto& [path, offset] :
       {std::pair{"gemma2", 1.0f}, std::pair{"gemma2_gguf/model.gguf", 0.0f}}) {
    SCOPED_TRACE(path);
    const auto checkpoint = Open(path);
    const auto spec = ReadModelSpec(*checkpoint);
    ASSERT_TRUE(spec.ok()) << spec.status();
    const auto weights = SourceWeights::Create(checkpoint, *spec);
    ASSERT_TRUE(weights.ok()) << weights.status();
    int norms = 0;
    for (const KeptTensor& kept : weights->kept()) {
      const bool norm = kept.name.find("norm") != std::string::npos;
      EXPECT_EQ(kept.offset, norm ? offset : 0) << kept.name;
      // Those that are written as F32 come first.
      if (kept.offset != 0) {
        EXPECT_EQ(norms, &kept - weights->kept().data()) << kept.name;
      }
      norms += norm ? 1 : 0;
    }
    EXPECT_EQ(norms, 3 * 4 + 1);
  }
}

TEST(FamiliesTest, UnknownTensorsAreRefused) {
  const auto checkpoint = Open("mimo");
  auto spec = ReadModelSpec(*checkpoint);
  ASSERT_TRUE(spec.ok()) << spec.status();
  spec->qkv_bias = false;  // so that nobody asks for the biases
  const absl::Status status = SourceWeights::Create(checkpoint, *spec).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("does not know tensor"));
}

TEST(FamiliesTest, LayersMustTurnEquallyMuchOfAHead) {
  const auto checkpoint = Open("phi3");
  auto spec = ReadModelSpec(*checkpoint);
  ASSERT_TRUE(spec.ok()) << spec.status();
  spec->inv_freq[1].pop_back();
  EXPECT_EQ(SourceWeights::Create(checkpoint, *spec).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace transmla
