#include "server/config.h"

#include <string>

#include "absl/flags/declare.h"
#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include <gtest/gtest.h>

ABSL_DECLARE_FLAG(std::string, model);
ABSL_DECLARE_FLAG(std::string, cache_dtype);
ABSL_DECLARE_FLAG(bool, expanded_prompts);
ABSL_DECLARE_FLAG(bool, pin_threads);
ABSL_DECLARE_FLAG(bool, quantised_activations);

namespace transmla {
namespace {

TEST(ConfigTest, ReadsMemory) {
  EXPECT_EQ(*ParseMemory("1024", 0), 1024);
  EXPECT_EQ(*ParseMemory("2GiB", 0), int64_t{2} << 30);
  EXPECT_EQ(*ParseMemory("1.5MiB", 0), 1572864);
  EXPECT_EQ(*ParseMemory("25%", 4000), 1000);
  for (const char* text : {"", "x", "-1", "0", "nan", "inf", "101%", "%", "GiB", "1e30", "5GB"}) {
    EXPECT_FALSE(ParseMemory(text, 4000).ok()) << text;
  }
}

TEST(ConfigTest, KnowsLoopback) {
  EXPECT_TRUE(*IsLoopback("127.0.0.1:8033"));
  EXPECT_TRUE(*IsLoopback("localhost:0"));
  EXPECT_TRUE(*IsLoopback("[::1]:8033"));
  EXPECT_FALSE(*IsLoopback("0.0.0.0:8033"));
  EXPECT_FALSE(*IsLoopback("[::]:8033"));
  for (const char* text : {"", "8033", ":8033", "host", "host:", "host:x", "host:70000"}) {
    EXPECT_FALSE(IsLoopback(text).ok()) << text;
  }
}

TEST(ConfigTest, StrangersNeedTlsOrAnExplicitFlag) {
  ServerConfig config;
  EXPECT_TRUE(Validate(config).ok()) << Validate(config);
  config.listen = "0.0.0.0:8033";
  const absl::Status status = Validate(config);
  EXPECT_TRUE(absl::StrContains(status.message(), "--insecure-bind")) << status;
  config.insecure_bind = true;
  EXPECT_TRUE(Validate(config).ok());
  config.insecure_bind = false;
  config.tls_cert = "cert.pem";
  EXPECT_FALSE(Validate(config).ok()) << "a certificate without its key";
  config.tls_key = "key.pem";
  EXPECT_TRUE(Validate(config).ok());
}

TEST(ConfigTest, EveryNumberHasARange) {
  const auto fails = [](auto change) {
    ServerConfig config;
    change(&config);
    return !Validate(config).ok();
  };
  EXPECT_TRUE(fails([](ServerConfig* c) { c->engine.threads = -1; }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->engine.max_context_tokens = -1; }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->engine.max_step_tokens = 0; }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->engine.max_running_requests = 0; }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->engine.max_queued_requests = 0; }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->engine.max_queued_tokens = 0; }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->stream_stall_timeout = absl::ZeroDuration(); }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->grace_period = absl::InfiniteDuration(); }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->drain_delay = -absl::Seconds(1); }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->conversion_threads = 0; }));
  EXPECT_TRUE(fails([](ServerConfig* c) { c->metrics_listen = "9090"; }));
}

TEST(ConfigTest, HelpNamesEveryFlag) {
  const std::string help = HelpText();
  for (const char* flag : {"--model", "--listen (127.0.0.1:8033)", "--max-queued-tokens",
                           "--grace-period (45s)", "--metrics-compat (vllm)"}) {
    EXPECT_TRUE(absl::StrContains(help, flag)) << flag << " is not in\n" << help;
  }
  EXPECT_FALSE(absl::StrContains(help, "gtest"));
}

TEST(ConfigTest, NamesTheModelAfterItsFile) {
  absl::SetFlag(&FLAGS_model, "");
  EXPECT_FALSE(ConfigFromFlags().ok());
  absl::SetFlag(&FLAGS_model, "/models/SmolLM2.Q4_1.gguf");
  EXPECT_EQ(ConfigFromFlags()->engine.model_name, "SmolLM2.Q4_1");
  absl::SetFlag(&FLAGS_model, "/models/folder/");
  EXPECT_EQ(ConfigFromFlags()->engine.model_name, "folder");
  absl::SetFlag(&FLAGS_cache_dtype, "q4_0");
  EXPECT_FALSE(ConfigFromFlags().ok());
  absl::SetFlag(&FLAGS_cache_dtype, "int8");
  EXPECT_EQ(ConfigFromFlags()->engine.cache_dtype, DType::kI8);
}

TEST(ConfigTest, ThreadsArePinnedIfAskedTo) {
  absl::SetFlag(&FLAGS_model, "model.gguf");
  EXPECT_FALSE(ConfigFromFlags()->engine.pin_threads);
  absl::SetFlag(&FLAGS_pin_threads, true);
  EXPECT_TRUE(ConfigFromFlags()->engine.pin_threads);
}

TEST(ConfigTest, PromptsExpandIfAskedTo) {
  absl::SetFlag(&FLAGS_model, "model.gguf");
  EXPECT_FALSE(ConfigFromFlags()->engine.expanded_prompts);
  absl::SetFlag(&FLAGS_expanded_prompts, true);
  EXPECT_TRUE(ConfigFromFlags()->engine.expanded_prompts);
}

TEST(ConfigTest, IntegerProductsCanBeTurnedOff) {
  absl::SetFlag(&FLAGS_model, "model.gguf");
  EXPECT_TRUE(ConfigFromFlags()->engine.quantised_activations);
  absl::SetFlag(&FLAGS_quantised_activations, false);
  EXPECT_FALSE(ConfigFromFlags()->engine.quantised_activations);
}

}  // namespace
}  // namespace transmla
