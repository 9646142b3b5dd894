#include "engine/model/model_spec.h"

#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/model/weights.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ModelSpec GqaModel() {
  ModelSpec spec;
  spec.vocab_size = 10;
  spec.hidden_size = 8;
  spec.intermediate_size = 16;
  spec.num_layers = 2;
  spec.max_context_tokens = 64;
  spec.gqa = {.num_attention_heads = 4, .num_key_value_heads = 2, .head_dim = 6};
  spec.attention_scale = 0.5f;
  spec.inv_freq = {{1, 0.5f, 0.25f}, {1, 0.5f, 0.25f}};
  return spec;
}

ModelSpec MoeModel() {
  ModelSpec spec = GqaModel();
  spec.moe = {
      .num_experts = 8, .num_experts_per_tok = 2, .intermediate_size = 5, .layers = {false, true}};
  return spec;
}

ModelSpec MlaModel() {
  ModelSpec spec = GqaModel();
  spec.attention = AttentionKind::kMla;
  spec.mla = {.num_attention_heads = 4,
              .kv_lora_rank = 5,
              .qk_nope_head_dim = 0,
              .qk_rope_head_dim = 6,
              .v_head_dim = 3};
  return spec;
}

TEST(ModelSpecTest, SoundModelsPass) {
  EXPECT_TRUE(GqaModel().Validate().ok()) << GqaModel().Validate();
  EXPECT_TRUE(MlaModel().Validate().ok()) << MlaModel().Validate();
  EXPECT_TRUE(MoeModel().Validate().ok()) << MoeModel().Validate();
  EXPECT_FALSE(MoeModel().HasExperts(0));
  EXPECT_TRUE(MoeModel().HasExperts(1));
  EXPECT_FALSE(GqaModel().HasExperts(1));
}

TEST(ModelSpecTest, CachesWhatAttentionReads) {
  EXPECT_EQ(GqaModel().CacheLayout(DType::kF16).ValuesPerTokenAndLayer(), 2 * 2 * 6);
  EXPECT_EQ(GqaModel().CacheLayout(DType::kF16).BytesPerToken(), 2 * 2 * 2 * 2 * 6);
  EXPECT_EQ(MlaModel().CacheLayout(DType::kF32).ValuesPerTokenAndLayer(), 5 + 6);
  EXPECT_EQ(MlaModel().NumAttentionHeads(), 4);
}

TEST(ModelSpecTest, ScalesOfAnInt8CacheCoverHeadsOrLatents) {
  ModelSpec gqa = GqaModel();
  for (const auto& [head_dim, group] : std::vector<std::pair<int, int>>{
           {1, 1}, {6, 6}, {128, 128}, {130, 65}, {192, 96}, {256, 128}}) {
    gqa.gqa.head_dim = head_dim;
    gqa.source_cache_values = 2 * 2 * head_dim;
    const KvLayout layout = gqa.CacheLayout(DType::kI8);
    EXPECT_EQ(layout.group, group);
    EXPECT_EQ(layout.BytesPerToken(), 2 * (2 * 2 * head_dim + 2 * 2 * head_dim / group * 4));
    EXPECT_EQ(gqa.SourceCacheBytesPerToken(DType::kI8), layout.BytesPerToken());
    EXPECT_EQ(gqa.CacheLayout(DType::kBF16).group, 0);
  }
  ModelSpec mla = MlaModel();
  EXPECT_EQ(mla.CacheLayout(DType::kI8).BytesPerToken(), 2 * (5 + 4 + 6 * 2));
  mla.mla.kv_lora_rank = 512;
  mla.source_cache_values = 2 * 300;
  EXPECT_EQ(mla.CacheLayout(DType::kI8).BytesPerToken(), 2 * (512 + 4 * 4 + 6 * 2));
  EXPECT_EQ(mla.CacheLayout(DType::kF16).group, 0);
  EXPECT_EQ(mla.SourceCacheBytesPerToken(DType::kI8), 2 * (600 + 5 * 4));
  EXPECT_EQ(mla.SourceCacheBytesPerToken(DType::kBF16), 2 * 600 * 2);
}

TEST(ModelSpecTest, ErrorsNameFieldAndValue) {
  struct Broken {
    std::function<void(ModelSpec&)> change;
    std::string message;
  };
  const std::vector<Broken> gqa = {
      {[](ModelSpec& s) { s.vocab_size = 0; }, "vocab_size is 0"},
      {[](ModelSpec& s) { s.hidden_size = -1; }, "hidden_size is -1"},
      {[](ModelSpec& s) { s.intermediate_size = 0; }, "intermediate_size is 0"},
      {[](ModelSpec& s) { s.num_layers = 5000; }, "num_hidden_layers is 5000"},
      {[](ModelSpec& s) { s.max_context_tokens = 0; }, "max_position_embeddings is 0"},
      {[](ModelSpec& s) { s.gqa.num_key_value_heads = 3; }, "num_attention_heads (4)"},
      {[](ModelSpec& s) { s.gqa.num_key_value_heads = 0; }, "num_key_value_heads is 0"},
      {[](ModelSpec& s) { s.inv_freq.pop_back(); }, "given for 1 of 2 layers"},
      {[](ModelSpec& s) { s.inv_freq[1].push_back(0); }, "layer 1 has 4 inverse frequencies"},
      {[](ModelSpec& s) { s.inv_freq[1].clear(); }, "layer 1 has 0 inverse frequencies"},
      {[](ModelSpec& s) { s.inv_freq[0][2] = std::numeric_limits<float>::infinity(); },
       "not finite"},
      {[](ModelSpec& s) { s.attention_scale = 0; }, "attention_scale is 0"},
      {[](ModelSpec& s) { s.sliding_window = {5}; }, "given for 1 of 2 layers"},
      {[](ModelSpec& s) {
         s.sliding_window = {5, -1};
       },
       "sliding_window is -1"},
      {[](ModelSpec& s) { s.attention_soft_cap = -1; }, "attn_logit_softcapping is -1"},
      {[](ModelSpec& s) { s.final_soft_cap = std::numeric_limits<float>::infinity(); },
       "final_logit_softcapping is inf"},
      {[](ModelSpec& s) { s.moe.num_experts = 0; }, "num_experts is 0"},
      {[](ModelSpec& s) { s.moe.num_experts = 5000; }, "num_experts is 5000"},
      {[](ModelSpec& s) { s.moe.num_experts_per_tok = 0; }, "num_experts_per_tok is 0"},
      {[](ModelSpec& s) { s.moe.num_experts_per_tok = 65; }, "num_experts_per_tok is 65"},
      {[](ModelSpec& s) { s.moe.num_experts_per_tok = 9; }, "is 9, but there are 8 experts"},
      {[](ModelSpec& s) { s.moe.intermediate_size = 0; }, "moe_intermediate_size is 0"},
      {[](ModelSpec& s) { s.moe.layers.pop_back(); }, "for 1 of 2 layers"},
      {[](ModelSpec& s) { s.moe.groups.count = 3; }, "n_group is 3"},
      {[](ModelSpec& s) {
         s.moe.groups = {8, 2, 2};
       },
       "make no such groups of 2"},
      {[](ModelSpec& s) {
         s.moe.groups = {2, 3, 1};
       },
       "topk_group is 3"},
      {[](ModelSpec& s) {
         s.moe.groups = {8, 1, 1};
       },
       "topk_group 1 of 8 groups have 1 experts"},
      {[](ModelSpec& s) { s.moe.scaling = 0; }, "routed_scaling_factor is 0"},
      {[](ModelSpec& s) { s.moe.shared_intermediate_size = -1; }, "shared intermediate_size is -1"},
      {[](ModelSpec& s) {
         s.num_layers = 1000;
         s.moe.num_experts = 4096;
         s.moe.layers.resize(1000);
         s.inv_freq.resize(1000, s.inv_freq[0]);
       },
       "4096 in 1000 layers"},
      {[](ModelSpec& s) { s.embedding_scale = 0; }, "embedding_scale is 0"},
      {[](ModelSpec& s) { s.norm_eps = 0; }, "rms_norm_eps is 0"},
      {[](ModelSpec& s) { s.norm_eps = std::numeric_limits<float>::quiet_NaN(); }, "rms_norm_eps"},
  };
  const std::vector<Broken> mla = {
      {[](ModelSpec& s) { s.mla.kv_lora_rank = 0; }, "kv_lora_rank is 0"},
      {[](ModelSpec& s) { s.mla.qk_rope_head_dim = 5; }, "qk_rope_head_dim is 5"},
      {[](ModelSpec& s) { s.mla.qk_rope_head_dim = 0; }, "qk_rope_head_dim is 0"},
      {[](ModelSpec& s) { s.mla.v_head_dim = 0; }, "v_head_dim is 0"},
      {[](ModelSpec& s) { s.mla.q_lora_rank = -1; }, "q_lora_rank is -1"},
      {[](ModelSpec& s) { s.mla.num_attention_heads = 5000; }, "num_attention_heads is 5000"},
      {[](ModelSpec& s) {
         s.qk_norm = true;
         s.gqa.head_dim = 0;
       },
       "head_dim is 0"},
      {[](ModelSpec& s) {
         s.qk_norm = true;
         s.mla.q_lora_rank = 3;
       },
       "heads of queries are normed"},
  };
  const auto expect = [](ModelSpec spec, const Broken& broken) {
    broken.change(spec);
    const absl::Status status = spec.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << broken.message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(broken.message));
  };
  for (const Broken& broken : gqa) expect(MoeModel(), broken);
  for (const Broken& broken : mla) expect(MlaModel(), broken);
}

TEST(HalfSplitOrderTest, PairsComeApart) {
  EXPECT_THAT(HalfSplitOrder(1, 6, 6), ElementsAre(0, 2, 4, 1, 3, 5));
  // Only the last rows of each head are rotary.
  EXPECT_THAT(HalfSplitOrder(2, 5, 4), ElementsAre(0, 1, 3, 2, 4, 5, 6, 8, 7, 9));
}

}  // namespace
}  // namespace transmla
