#include "server/translate.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/hash/hash.h"
#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/rpc/error_details.pb.h"

#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "engine/base/utf8.h"
#include "server/limits.h"

namespace transmla {
namespace {

constexpr absl::string_view kDomain = "transmla.dev";
constexpr absl::string_view kFieldUrl = "transmla.dev/field";
// Trailing metadata holds 8 KiB in all; details repeat the message.
constexpr size_t kMaxMessageBytes = 1500;

absl::string_view DefaultReason(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return reason::kInvalidParameter;
    case absl::StatusCode::kNotFound:
      return "NOT_FOUND";
    case absl::StatusCode::kAlreadyExists:
      return reason::kDuplicateRequest;
    case absl::StatusCode::kFailedPrecondition:
      return "FAILED_PRECONDITION";
    case absl::StatusCode::kResourceExhausted:
      return reason::kQueueFull;
    case absl::StatusCode::kUnavailable:
      return "ENGINE_UNAVAILABLE";
    case absl::StatusCode::kCancelled:
      return reason::kCancelledByClient;
    case absl::StatusCode::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case absl::StatusCode::kAborted:
      return reason::kOperationInProgress;
    case absl::StatusCode::kUnimplemented:
      return "FEATURE_NOT_SUPPORTED";
    case absl::StatusCode::kDataLoss:
      return "CHECKPOINT_CORRUPT";
    default:
      return "ENGINE_ERROR";
  }
}

std::string ReasonOf(const absl::Status& status) {
  std::string why = ErrorReason(status);
  return why.empty() ? std::string(DefaultReason(status.code())) : why;
}

// At most the first `bytes` bytes, cut between characters.
absl::string_view Head(absl::string_view text, size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xC0) == 0x80) --bytes;
  return text.substr(0, bytes);
}

template <typename Range>
absl::Status CheckFloat(absl::string_view field, float value, Range&& in_range,
                        absl::string_view range) {
  if (in_range(value)) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", value, "; it must be ", range));
}

absl::Status CheckUpTo(absl::string_view field, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return absl::OkStatus();
  return InvalidField(field, absl::StrCat("is ", value, "; it must be from ", least, " to ", most));
}

absl::Status CheckPrintable(absl::string_view field, absl::string_view text, size_t most) {
  if (text.size() > most) {
    return InvalidField(field, absl::StrCat("has ", text.size(), " bytes; at most ", most));
  }
  if (!std::all_of(text.begin(), text.end(),
                   [](unsigned char c) { return absl::ascii_isprint(c); })) {
    return InvalidField(field, "has a character that is not printable ASCII");
  }
  return absl::OkStatus();
}

absl::Status FillLogitRules(const v1::SamplingOptions& from, SamplingParams* to) {
  const auto penalty = [](absl::string_view field, float value, float* out) {
    *out = value;
    return CheckFloat(
        field, value, [](float v) { return v >= -2 && v <= 2; }, "from -2 to 2");
  };
  RETURN_IF_ERROR(
      penalty("sampling.presence_penalty", from.presence_penalty(), &to->presence_penalty));
  RETURN_IF_ERROR(
      penalty("sampling.frequency_penalty", from.frequency_penalty(), &to->frequency_penalty));
  if (from.has_repetition_penalty()) {
    RETURN_IF_ERROR(CheckFloat(
        "sampling.repetition_penalty", from.repetition_penalty(),
        [](float v) { return v >= 0.01f && v <= 10; }, "from 0.01 to 10"));
    to->repetition_penalty = from.repetition_penalty();
  }
  if (from.logit_bias_size() > kMaxLogitBiases) {
    return InvalidField("sampling.logit_bias", absl::StrCat("has ", from.logit_bias_size(),
                                                            " entries; at most ", kMaxLogitBiases));
  }
  for (const auto& [token, bias] : from.logit_bias()) {
    RETURN_IF_ERROR(CheckUpTo("sampling.logit_bias", token, 0, INT32_MAX));
    if (!(bias >= -100 && bias <= 100)) {
      return InvalidField("sampling.logit_bias", absl::StrCat("of token ", token, " is ", bias,
                                                              "; it must be from -100 to 100"));
    }
    to->logit_bias.emplace_back(static_cast<int32_t>(token), bias);
  }
  // A map has no order of its own.
  std::sort(to->logit_bias.begin(), to->logit_bias.end());
  for (const uint32_t token : from.allowed_token_ids()) {
    RETURN_IF_ERROR(CheckUpTo("sampling.allowed_token_ids", token, 0, INT32_MAX));
    to->allowed_tokens.push_back(static_cast<int32_t>(token));
  }
  return absl::OkStatus();
}

absl::Status FillSampling(const v1::SamplingOptions& from, uint64_t seed, SamplingParams* to) {
  to->seed = from.has_seed() ? from.seed() : seed;
  if (from.has_temperature()) {
    RETURN_IF_ERROR(CheckFloat(
        "sampling.temperature", from.temperature(), [](float v) { return v >= 0 && v <= 100; },
        "from 0 (greedy) to 100"));
    to->temperature = from.temperature();
  }
  if (from.has_top_p()) {
    RETURN_IF_ERROR(CheckFloat(
        "sampling.top_p", from.top_p(), [](float v) { return v > 0 && v <= 1; },
        "above 0 and at most 1"));
    to->top_p = from.top_p();
  }
  if (from.has_min_p()) {
    RETURN_IF_ERROR(CheckFloat(
        "sampling.min_p", from.min_p(), [](float v) { return v >= 0 && v <= 1; }, "from 0 to 1"));
    to->min_p = from.min_p();
  }
  if (from.has_typical_p()) {
    RETURN_IF_ERROR(CheckFloat(
        "sampling.typical_p", from.typical_p(), [](float v) { return v > 0 && v <= 1; },
        "above 0 and at most 1"));
    to->typical_p = from.typical_p();
  }
  if (from.has_top_k()) {
    RETURN_IF_ERROR(CheckUpTo("sampling.top_k", from.top_k(), 0, kMaxPromptTokens));
    to->top_k = static_cast<int>(from.top_k());
  }
  return FillLogitRules(from, to);
}

absl::Status FillStop(const v1::StopOptions& from, StopParams* to) {
  if (from.has_max_tokens()) {
    RETURN_IF_ERROR(CheckUpTo("stop.max_tokens", from.max_tokens(), 1, kMaxPromptTokens));
    to->max_tokens = static_cast<int>(from.max_tokens());
  }
  if (from.has_min_tokens()) {
    const uint64_t most = to->max_tokens > 0 ? to->max_tokens : kMaxPromptTokens;
    RETURN_IF_ERROR(CheckUpTo("stop.min_tokens", from.min_tokens(), 0, most));
    to->min_tokens = static_cast<int>(from.min_tokens());
  }
  if (from.stop_strings_size() > kMaxStopStrings) {
    return InvalidField("stop.stop_strings", absl::StrCat("has ", from.stop_strings_size(),
                                                          " strings; at most ", kMaxStopStrings));
  }
  for (const std::string& text : from.stop_strings()) {
    if (text.empty() || text.size() > kMaxStopStringBytes) {
      return InvalidField("stop.stop_strings",
                          absl::StrCat("has a string of ", text.size(),
                                       " bytes; it must have 1 to ", kMaxStopStringBytes));
    }
    to->stop_strings.push_back(text);
  }
  if (from.stop_token_ids_size() > kMaxStopTokenIds) {
    return InvalidField("stop.stop_token_ids", absl::StrCat("has ", from.stop_token_ids_size(),
                                                            " ids; at most ", kMaxStopTokenIds));
  }
  for (const uint32_t id : from.stop_token_ids()) {
    RETURN_IF_ERROR(CheckUpTo("stop.stop_token_ids", id, 0, INT32_MAX));
    to->stop_token_ids.push_back(static_cast<int32_t>(id));
  }
  to->ignore_eos = from.ignore_eos();
  to->include_stop = from.include_stop();
  return absl::OkStatus();
}

void FillToken(const TokenInfo& token, bool logprobs, v1::TokenInfo* info) {
  info->set_id(static_cast<uint32_t>(token.token));
  if (!logprobs) return;
  info->set_logprob(token.logprob);
  for (const TokenLogprob& other : token.top) {
    v1::TopLogprob* top = info->add_top();
    top->set_id(static_cast<uint32_t>(other.token));
    top->set_logprob(other.logprob);
  }
}

}  // namespace

absl::Status InvalidField(absl::string_view field, absl::string_view problem) {
  absl::Status status = WithReason(absl::InvalidArgumentError(absl::StrCat(field, " ", problem)),
                                   reason::kInvalidParameter);
  status.SetPayload(kFieldUrl, absl::Cord(field));
  return status;
}

absl::Status WithDefaultReason(absl::Status status, absl::StatusCode code, absl::string_view why) {
  if (status.code() != code || !ErrorReason(status).empty()) return status;
  return WithReason(std::move(status), why);
}

absl::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const std::string why = ReasonOf(status);
  const bool helps = absl::IsUnavailable(status) ||
                     (absl::IsResourceExhausted(status) && why != reason::kSlowConsumer &&
                      why != reason::kNoSpace && why != reason::kNoMemory);
  return helps ? absl::make_optional(kRetryDelay) : absl::nullopt;
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status result;
  // The codes of absl, gRPC and google.rpc are the same numbers.
  result.set_code(static_cast<int>(status.code()));
  if (status.ok()) return result;
  // A message may quote bytes of a file or half a character of a request.
  result.set_message(ReplaceInvalidUtf8(Head(status.message(), kMaxMessageBytes)));

  google::rpc::ErrorInfo info;
  info.set_domain(std::string(kDomain));
  info.set_reason(ReasonOf(status));
  result.add_details()->PackFrom(info);
  if (const auto field = status.GetPayload(kFieldUrl); field.has_value()) {
    google::rpc::BadRequest bad_request;
    auto* violation = bad_request.add_field_violations();
    violation->set_field(std::string(*field));
    violation->set_description(result.message());
    result.add_details()->PackFrom(bad_request);
  }
  if (const absl::optional<absl::Duration> delay = RetryDelay(status); delay.has_value()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(*delay));
    result.add_details()->PackFrom(retry);
  }
  return result;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status details = ToRpcStatus(status);
  return grpc::Status(static_cast<grpc::StatusCode>(details.code()), details.message(),
                      details.SerializeAsString());
}

absl::StatusOr<GenerateRequest> ToEngineRequest(const v1::GenerateRequest& message, uint64_t seed) {
  GenerateRequest request;
  RETURN_IF_ERROR(FillSampling(message.sampling(), seed, &request.sampling));
  RETURN_IF_ERROR(FillStop(message.stop(), &request.stop));
  if (message.output().has_skip_special_tokens()) {
    request.skip_special_tokens = message.output().skip_special_tokens();
  }
  if (message.output().has_logprobs()) {
    RETURN_IF_ERROR(CheckUpTo("output.logprobs", message.output().logprobs(), 0, kMaxLogprobs));
    request.logprobs = static_cast<int>(message.output().logprobs());
  }
  if (message.output().has_prompt_logprobs()) {
    RETURN_IF_ERROR(
        CheckUpTo("output.prompt_logprobs", message.output().prompt_logprobs(), 0, kMaxLogprobs));
    request.prompt_logprobs = static_cast<int>(message.output().prompt_logprobs());
  }
  request.priority = message.priority();
  RETURN_IF_ERROR(CheckPrintable("tenant", message.tenant(), kMaxTenantBytes));
  request.tenant = message.tenant();
  if (message.has_draft_tokens()) {
    RETURN_IF_ERROR(CheckUpTo("draft_tokens", message.draft_tokens(), 0, kMaxDraftTokens));
    request.draft_tokens = static_cast<int>(message.draft_tokens());
  }
  request.prefix_cache = !message.cache().bypass_prefix_cache();
  const std::string& salt = message.cache().cache_salt();
  if (salt.size() > kMaxCacheSaltBytes) {
    return InvalidField("cache.cache_salt",
                        absl::StrCat("has ", salt.size(), " bytes; at most ", kMaxCacheSaltBytes));
  }
  // 0 means none.
  if (!salt.empty()) request.cache_salt = std::max<uint64_t>(absl::HashOf(salt), 1);
  if (message.has_max_queue_ms()) {
    request.max_queue_time = absl::Milliseconds(message.max_queue_ms());
  }
  return request;
}

absl::StatusOr<SequenceCounts> SequencesOf(const v1::GenerateRequest& message) {
  const v1::SamplingOptions& sampling = message.sampling();
  SequenceCounts counts;
  if (sampling.has_num_sequences()) {
    RETURN_IF_ERROR(
        CheckUpTo("sampling.num_sequences", sampling.num_sequences(), 1, kMaxSequences));
    counts.returned = static_cast<int>(sampling.num_sequences());
  }
  counts.generated = counts.returned;
  if (sampling.has_best_of()) {
    RETURN_IF_ERROR(CheckUpTo("sampling.best_of", sampling.best_of(),
                              static_cast<uint64_t>(counts.returned), kMaxSequences));
    counts.generated = static_cast<int>(sampling.best_of());
  }
  return counts;
}

absl::StatusOr<std::optional<ConstraintSpec>> ConstraintOf(const v1::GenerateRequest& message) {
  const v1::OutputConstraint& from = message.constraint();
  ConstraintSpec spec;
  switch (from.kind_case()) {
    case v1::OutputConstraint::kJsonSchema:
      spec.kind = ConstraintSpec::Kind::kJsonSchema;
      spec.text = from.json_schema();
      break;
    case v1::OutputConstraint::kJsonObject:
      if (!from.json_object()) {
        return InvalidField("constraint.json_object", "is false; leave it out instead");
      }
      spec.kind = ConstraintSpec::Kind::kJsonObject;
      break;
    case v1::OutputConstraint::kRegex:
      spec.kind = ConstraintSpec::Kind::kRegex;
      spec.text = from.regex();
      break;
    case v1::OutputConstraint::kGrammar:
      spec.kind = ConstraintSpec::Kind::kGrammar;
      spec.text = from.grammar();
      break;
    case v1::OutputConstraint::kChoice:
      spec.kind = ConstraintSpec::Kind::kChoice;
      spec.choices.assign(from.choice().texts().begin(), from.choice().texts().end());
      break;
    case v1::OutputConstraint::KIND_NOT_SET:
      return std::optional<ConstraintSpec>();
  }
  return spec;
}

absl::string_view ConstraintField(const v1::GenerateRequest& message) {
  switch (message.constraint().kind_case()) {
    case v1::OutputConstraint::kJsonSchema:
      return "constraint.json_schema";
    case v1::OutputConstraint::kRegex:
      return "constraint.regex";
    case v1::OutputConstraint::kGrammar:
      return "constraint.grammar";
    case v1::OutputConstraint::kChoice:
      return "constraint.choice";
    default:
      return "constraint";
  }
}

absl::Status CheckRequestId(absl::string_view id) {
  return CheckPrintable("request_id", id, kMaxRequestIdBytes);
}

absl::Status CheckNewModelName(absl::string_view field, absl::string_view name) {
  return CheckPrintable(field, name, kMaxModelNameBytes);
}

OutputSelection SelectionOf(const v1::GenerateRequest& message) {
  const v1::OutputOptions& output = message.output();
  OutputSelection selection;
  selection.text = !output.has_text() || output.text();
  selection.logprobs = output.has_logprobs();
  selection.tokens = output.token_ids() || selection.logprobs;
  return selection;
}

void AppendEvent(const TokenEvent& event, const OutputSelection& selection, v1::Chunk* chunk) {
  if (selection.text) chunk->mutable_text()->append(event.text);
  for (const ToolCallEvent& from : event.tool_calls) {
    v1::ToolCall* call = chunk->add_tool_calls();
    call->set_id(from.id);
    call->set_name(from.call.name);
    call->set_arguments_json(from.call.arguments);
  }
  if (!selection.tokens) return;
  for (const TokenInfo& token : event.tokens) {
    FillToken(token, selection.logprobs, chunk->add_tokens());
  }
}

void AppendPrompt(const PromptEvent& event, int32_t first_token, v1::PromptInfo* prompt) {
  if (event.first == 1) prompt->add_tokens()->set_id(static_cast<uint32_t>(first_token));
  for (const TokenInfo& token : event.tokens) FillToken(token, true, prompt->add_tokens());
}

v1::Finished ToProto(const FinishedEvent& event, const ModelInfo& model) {
  v1::Finished finished;
  switch (event.reason) {
    case FinishReason::kStop:
      finished.set_reason(v1::FINISH_REASON_STOP);
      break;
    case FinishReason::kLength:
      finished.set_reason(v1::FINISH_REASON_LENGTH);
      break;
    case FinishReason::kCancelled:
      finished.set_reason(v1::FINISH_REASON_CANCELLED);
      break;
  }
  if (!event.stop_string.empty()) {
    finished.set_text(event.stop_string);
  } else if (event.stop_token >= 0) {
    const auto& ends = model.spec.eos_token_ids;
    const bool is_eos = std::find(ends.begin(), ends.end(), event.stop_token) != ends.end();
    const auto id = static_cast<uint32_t>(event.stop_token);
    is_eos ? finished.set_eos_token_id(id) : finished.set_token_id(id);
  }
  v1::RequestTimings* timings = finished.mutable_timings();
  timings->set_queue_ms(absl::ToDoubleMilliseconds(event.timings.queue));
  timings->set_prefill_ms(absl::ToDoubleMilliseconds(event.timings.prefill));
  timings->set_decode_ms(absl::ToDoubleMilliseconds(event.timings.decode));
  timings->set_total_ms(absl::ToDoubleMilliseconds(event.timings.total));
  finished.set_seed(event.seed);
  finished.set_preemptions(static_cast<uint32_t>(event.preemptions));
  return finished;
}

v1::Model ToProto(const ModelInfo& model, v1::Model::State state, bool has_chat_template) {
  v1::Model message;
  message.set_name(model.name);
  message.set_family(model.spec.family);
  message.set_state(state);
  message.set_vocab_size(static_cast<uint32_t>(model.spec.vocab_size));
  message.set_hidden_size(static_cast<uint32_t>(model.spec.hidden_size));
  message.set_num_layers(static_cast<uint32_t>(model.spec.num_layers));
  if (model.spec.attention == AttentionKind::kGqa) {
    message.set_attention("gqa");
    message.set_num_attention_heads(static_cast<uint32_t>(model.spec.gqa.num_attention_heads));
    message.set_num_key_value_heads(static_cast<uint32_t>(model.spec.gqa.num_key_value_heads));
  } else {
    message.set_attention("mla");
    message.set_num_attention_heads(static_cast<uint32_t>(model.spec.mla.num_attention_heads));
    message.set_kv_lora_rank(static_cast<uint32_t>(model.spec.mla.kv_lora_rank));
    message.set_qk_rope_head_dim(static_cast<uint32_t>(model.spec.mla.qk_rope_head_dim));
  }
  message.set_max_context_tokens(static_cast<uint32_t>(model.max_context_tokens));
  message.set_device(model.device);
  message.set_weight_bytes(static_cast<uint64_t>(model.weight_bytes));
  message.set_cache_dtype(std::string(CacheDTypeName(model.cache_dtype)));
  message.set_cache_bytes_per_token(static_cast<uint64_t>(model.cache_bytes_per_token));
  message.set_gqa_equivalent_cache_bytes_per_token(
      static_cast<uint64_t>(model.gqa_equivalent_bytes_per_token));
  message.set_cache_pages(static_cast<uint64_t>(model.cache_pages));
  message.set_page_tokens(kPageTokens);
  message.set_has_chat_template(has_chat_template);
  message.set_expanded_prompts(model.expanded_prompts);
  return message;
}

void SetTime(absl::Time time, google::protobuf::Timestamp* timestamp) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

absl::Status ModelNotFound(absl::string_view name, absl::Span<const std::string> served) {
  const auto quoted = [](std::string* out, absl::string_view model) {
    absl::StrAppend(out, "\"", model, "\"");
  };
  return WithReason(
      absl::NotFoundError(absl::StrCat(
          "model \"", Head(name, 200), "\" is not served here; ",
          absl::StrJoin(served, ", ", quoted), served.size() == 1 ? " is" : " are",
          " (an empty name means ", served.size() == 1 ? "that one" : "the first", ")")),
      reason::kModelNotFound);
}

}  // namespace transmla
