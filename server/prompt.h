// Prompt: from a request's text, token ids or conversation to the token ids that the engine runs.
#ifndef TRANSMLA_SERVER_PROMPT_H_
#define TRANSMLA_SERVER_PROMPT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "transmla/v1/generation.pb.h"

#include "engine/engine.h"

namespace transmla {

struct Prompt {
  std::vector<int32_t> ids;
  std::string rendered;  // of a conversation: what its template made
};

// Sizes and shapes only: cheap enough for gRPC's threads. InvalidArgument naming field and limit.
absl::Status CheckPrompt(const v1::GenerateRequest& message);
absl::Status CheckPrompt(const v1::TokenizeRequest& message);

// Renders and tokenises; takes time in proportion to the prompt. REQUIRES: CheckPrompt is OK.
// InvalidArgument (template refuses, id outside the vocabulary, no tokens), FailedPrecondition (a
// conversation for a model without a template).
absl::StatusOr<Prompt> BuildPrompt(const v1::GenerateRequest& message, const Engine& engine);
absl::StatusOr<Prompt> BuildPrompt(const v1::TokenizeRequest& message, const Engine& engine);

// InvalidArgument above kMaxPromptTokens.
absl::Status CheckIdCount(int count, const char* field);
// InvalidArgument if an id is outside the vocabulary.
absl::StatusOr<std::vector<int32_t>> CheckTokenIds(
    const google::protobuf::RepeatedField<uint32_t>& ids, const char* field, const Engine& engine);

// Valid UTF-8. REQUIRES: ids are in the vocabulary.
std::string DecodeText(const std::vector<int32_t>& ids, bool skip_special_tokens,
                       const Engine& engine);

}  // namespace transmla

#endif  // TRANSMLA_SERVER_PROMPT_H_
