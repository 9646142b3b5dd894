#include "client/cli/sampling_flags.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"

#include "engine/base/file.h"
#include "engine/base/status.h"

ABSL_FLAG(std::string, model, "", "Name of the model; empty: the server's only one");
ABSL_FLAG(std::optional<float>, temperature, std::nullopt, "0 is greedy");
ABSL_FLAG(std::optional<float>, top_p, std::nullopt, "Keep the most likely tokens up to this sum");
ABSL_FLAG(std::optional<uint32_t>, top_k, std::nullopt, "Keep so many most likely tokens; 0: all");
ABSL_FLAG(std::optional<float>, min_p, std::nullopt, "Drop tokens less likely than this share");
ABSL_FLAG(std::optional<float>, typical_p, std::nullopt,
          "Keep tokens of typical information up to this probability");
ABSL_FLAG(std::optional<float>, repetition_penalty, std::nullopt,
          "Above 1: tokens that were there are less likely");
ABSL_FLAG(std::optional<float>, presence_penalty, std::nullopt,
          "Above 0: tokens that were generated are less likely");
ABSL_FLAG(std::optional<float>, frequency_penalty, std::nullopt,
          "Above 0: the more often a token was generated, the less likely it is");
ABSL_FLAG(std::optional<uint64_t>, seed, std::nullopt, "Same seed, same text");
ABSL_FLAG(uint32_t, max_tokens, 256, "Tokens to generate at most; 0: up to the model's context");
ABSL_FLAG(std::vector<std::string>, stop, {}, "Texts that end the completion, comma-separated");
ABSL_FLAG(std::vector<std::string>, bad_words, {}, "Texts that must not come up, comma-separated");
ABSL_FLAG(std::optional<uint32_t>, draft_tokens, std::nullopt,
          "Tokens guessed a step from what was there; same text, fewer steps");
ABSL_FLAG(std::string, json_schema, "",
          "The completion is a JSON document valid under this schema: JSON text, or @FILE");
ABSL_FLAG(std::string, regex, "", "The completion matches this regular expression as a whole");
ABSL_FLAG(std::string, grammar, "",
          "The completion is a text of this grammar (GBNF): text, or @FILE");
ABSL_FLAG(std::string, tenant, "", "Whose requests take turns with those of others");
ABSL_FLAG(int32_t, priority, 0, "Higher goes first");
ABSL_FLAG(bool, ignore_eos, false, "Go on after the model's end token");

namespace transmla {
namespace {

constexpr int64_t kMaxFileBytes = 1 << 20;  // the server takes less

// The text of a flag that may name a file.
absl::StatusOr<std::string> TextOrFile(const std::string& value) {
  if (value.empty() || value[0] != '@') return value;
  return PosixFileSystem()->Read(value.substr(1), kMaxFileBytes);
}

}  // namespace

absl::StatusOr<CompletionRequest> RequestFromFlags() {
  CompletionRequest request;
  request.model = absl::GetFlag(FLAGS_model);
  request.temperature = absl::GetFlag(FLAGS_temperature);
  request.top_p = absl::GetFlag(FLAGS_top_p);
  request.top_k = absl::GetFlag(FLAGS_top_k);
  request.min_p = absl::GetFlag(FLAGS_min_p);
  request.typical_p = absl::GetFlag(FLAGS_typical_p);
  request.repetition_penalty = absl::GetFlag(FLAGS_repetition_penalty);
  request.presence_penalty = absl::GetFlag(FLAGS_presence_penalty);
  request.frequency_penalty = absl::GetFlag(FLAGS_frequency_penalty);
  request.seed = absl::GetFlag(FLAGS_seed);
  const uint32_t max_tokens = absl::GetFlag(FLAGS_max_tokens);
  if (max_tokens > 0) request.max_tokens = max_tokens;
  if (absl::GetFlag(FLAGS_ignore_eos)) request.ignore_eos = true;
  request.stop_strings = absl::GetFlag(FLAGS_stop);
  request.bad_words = absl::GetFlag(FLAGS_bad_words);
  request.draft_tokens = absl::GetFlag(FLAGS_draft_tokens);
  ASSIGN_OR_RETURN(request.json_schema, TextOrFile(absl::GetFlag(FLAGS_json_schema)));
  request.regex = absl::GetFlag(FLAGS_regex);
  ASSIGN_OR_RETURN(request.grammar, TextOrFile(absl::GetFlag(FLAGS_grammar)));
  const int constraints =
      !request.json_schema.empty() + !request.regex.empty() + !request.grammar.empty();
  if (constraints > 1) {
    return absl::InvalidArgumentError("--json-schema, --regex and --grammar exclude each other");
  }
  request.tenant = absl::GetFlag(FLAGS_tenant);
  request.priority = absl::GetFlag(FLAGS_priority);
  return request;
}

}  // namespace transmla
