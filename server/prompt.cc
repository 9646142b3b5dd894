#include "server/prompt.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "server/limits.h"
#include "server/translate.h"

namespace transmla {
namespace {

absl::Status CheckBytes(absl::string_view field, size_t bytes) {
  if (bytes <= kMaxPromptBytes) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("has ", bytes, " bytes; at most ", kMaxPromptBytes));
}

absl::Status CheckJsonArray(const std::string& field, const std::string& text) {
  if (text.empty()) return absl::OkStatus();
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_array()) return absl::OkStatus();
  return InvalidField(field, "is not a JSON array");
}

absl::Status CheckChat(const v1::ChatPrompt& chat) {
  if (chat.messages().empty()) return InvalidField("chat.messages", "is empty; send one at least");
  if (chat.messages_size() > kMaxChatMessages) {
    return InvalidField("chat.messages", absl::StrCat("has ", chat.messages_size(),
                                                      " messages; at most ", kMaxChatMessages));
  }
  size_t bytes = chat.tools_json().size();
  for (int i = 0; i < chat.messages_size(); ++i) {
    const v1::ChatMessage& message = chat.messages(i);
    if (message.role() != "system" && message.role() != "user" && message.role() != "assistant" &&
        message.role() != "tool") {
      return InvalidField(absl::StrCat("chat.messages[", i, "].role"),
                          absl::StrCat("is \"", message.role().substr(0, 32),
                                       "\"; it must be system, user, assistant or tool"));
    }
    bytes += message.content().size() + message.tool_calls_json().size();
  }
  return CheckBytes("chat", bytes);
}

absl::Status CheckChatJson(const v1::ChatPrompt& chat) {
  RETURN_IF_ERROR(CheckJsonArray("chat.tools_json", chat.tools_json()));
  for (int i = 0; i < chat.messages_size(); ++i) {
    RETURN_IF_ERROR(CheckJsonArray(absl::StrCat("chat.messages[", i, "].tool_calls_json"),
                                   chat.messages(i).tool_calls_json()));
  }
  return absl::OkStatus();
}

absl::StatusOr<Prompt> BuildChat(const v1::ChatPrompt& chat, const Engine& engine) {
  const ChatTemplate* const chat_template = engine.chat_template();
  if (chat_template == nullptr) {
    return WithReason(absl::FailedPreconditionError(absl::StrCat(
                          "model \"", engine.model().name,
                          "\" has no chat template; send the prompt as text or token_ids")),
                      reason::kNoChatTemplate);
  }
  RETURN_IF_ERROR(CheckChatJson(chat));
  ChatTemplateInput input;
  for (const v1::ChatMessage& message : chat.messages()) {
    transmla::ChatMessage& to = input.messages.emplace_back();
    to.role = message.role();
    to.content = message.content();
    to.name = message.name();
    to.tool_call_id = message.tool_call_id();
    to.tool_calls_json = message.tool_calls_json();
  }
  input.tools_json = chat.tools_json();
  input.add_generation_prompt = !chat.has_add_generation_prompt() || chat.add_generation_prompt();
  Prompt prompt;
  ASSIGN_OR_RETURN(prompt.rendered, chat_template->Render(input));
  RETURN_IF_ERROR(CheckBytes("the rendered conversation", prompt.rendered.size()));
  // The template writes the control tokens itself, the one at the beginning among them.
  EncodeOptions options;
  options.add_bos = false;
  options.parse_special = true;
  ASSIGN_OR_RETURN(prompt.ids, engine.tokenizer().Encode(prompt.rendered, options));
  return prompt;
}

absl::StatusOr<Prompt> NotEmpty(absl::StatusOr<Prompt> prompt) {
  if (prompt.ok() && prompt->ids.empty()) {
    return InvalidField("prompt", "has no tokens; send one at least");
  }
  return prompt;
}

}  // namespace

absl::Status CheckPrompt(const v1::GenerateRequest& message) {
  switch (message.prompt_case()) {
    case v1::GenerateRequest::kText:
      return CheckBytes("text", message.text().size());
    case v1::GenerateRequest::kTokenIds:
      if (message.token_ids().ids().empty()) {
        return InvalidField("token_ids.ids", "is empty; send one at least");
      }
      return CheckIdCount(message.token_ids().ids_size(), "token_ids.ids");
    case v1::GenerateRequest::kChat:
      return CheckChat(message.chat());
    case v1::GenerateRequest::PROMPT_NOT_SET:
      break;
  }
  return InvalidField("prompt", "is missing; set text, token_ids or chat");
}

absl::Status CheckPrompt(const v1::TokenizeRequest& message) {
  switch (message.prompt_case()) {
    case v1::TokenizeRequest::kText:
      return CheckBytes("text", message.text().size());
    case v1::TokenizeRequest::kChat:
      return CheckChat(message.chat());
    case v1::TokenizeRequest::PROMPT_NOT_SET:
      break;
  }
  return InvalidField("prompt", "is missing; set text or chat");
}

absl::StatusOr<Prompt> BuildPrompt(const v1::GenerateRequest& message, const Engine& engine) {
  Prompt prompt;
  switch (message.prompt_case()) {
    case v1::GenerateRequest::kChat:
      return NotEmpty(BuildChat(message.chat(), engine));
    case v1::GenerateRequest::kTokenIds: {
      ASSIGN_OR_RETURN(prompt.ids,
                       CheckTokenIds(message.token_ids().ids(), "token_ids.ids", engine));
      return prompt;
    }
    default: {
      ASSIGN_OR_RETURN(prompt.ids, engine.tokenizer().Encode(message.text(), EncodeOptions()));
      return NotEmpty(std::move(prompt));
    }
  }
}

absl::StatusOr<Prompt> BuildPrompt(const v1::TokenizeRequest& message, const Engine& engine) {
  if (message.has_chat()) return BuildChat(message.chat(), engine);
  EncodeOptions options;
  options.parse_special = message.parse_special();
  options.add_bos = !message.has_add_bos() || message.add_bos();
  Prompt prompt;
  ASSIGN_OR_RETURN(prompt.ids, engine.tokenizer().Encode(message.text(), options));
  return prompt;
}

absl::Status CheckIdCount(int count, const char* field) {
  if (count <= kMaxPromptTokens) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("has ", count, " ids; at most ", kMaxPromptTokens));
}

absl::StatusOr<std::vector<int32_t>> CheckTokenIds(
    const google::protobuf::RepeatedField<uint32_t>& ids, const char* field, const Engine& engine) {
  const auto vocabulary = static_cast<uint32_t>(engine.model().spec.vocab_size);
  std::vector<int32_t> result;
  result.reserve(static_cast<size_t>(ids.size()));
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] >= vocabulary) {
      return InvalidField(field, absl::StrCat("[", i, "] is ", ids[i],
                                              "; the vocabulary has ids below ", vocabulary));
    }
    result.push_back(static_cast<int32_t>(ids[i]));
  }
  return result;
}

std::string DecodeText(const std::vector<int32_t>& ids, bool skip_special_tokens,
                       const Engine& engine) {
  return engine.tokenizer().Decode(ids, skip_special_tokens);
}

}  // namespace transmla
