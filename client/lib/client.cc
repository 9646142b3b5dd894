#include "client/lib/client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "google/longrunning/operations.grpc.pb.h"
#include "transmla/v1/generation.grpc.pb.h"
#include "transmla/v1/model.grpc.pb.h"
#include <grpcpp/client_context.h>

#include "client/lib/channel.h"
#include "client/lib/errors.h"
#include "engine/base/clock.h"
#include "engine/base/status.h"

namespace transmla {
namespace {

// Calls that only read tables answer at once or not at all.
constexpr absl::Duration kShortCall = absl::Seconds(30);

void SetDeadline(grpc::ClientContext& context, absl::Duration timeout) {
  if (timeout == absl::InfiniteDuration()) return;
  context.set_deadline(absl::ToChronoTime(SystemClock()->Now() + timeout));
}

v1::GenerateRequest ToProto(const CompletionRequest& request) {
  v1::GenerateRequest proto;
  proto.set_model(request.model);
  proto.set_request_id(request.request_id);
  if (!request.messages.empty()) {
    for (const ConversationTurn& turn : request.messages) {
      v1::ChatMessage* message = proto.mutable_chat()->add_messages();
      message->set_role(turn.role);
      message->set_content(turn.content);
    }
  } else if (!request.token_ids.empty()) {
    for (const uint32_t id : request.token_ids) proto.mutable_token_ids()->add_ids(id);
  } else {
    proto.set_text(request.text);
  }
  v1::SamplingOptions* sampling = proto.mutable_sampling();
  if (request.temperature) sampling->set_temperature(*request.temperature);
  if (request.top_p) sampling->set_top_p(*request.top_p);
  if (request.top_k) sampling->set_top_k(*request.top_k);
  if (request.min_p) sampling->set_min_p(*request.min_p);
  if (request.typical_p) sampling->set_typical_p(*request.typical_p);
  if (request.repetition_penalty) sampling->set_repetition_penalty(*request.repetition_penalty);
  if (request.presence_penalty) sampling->set_presence_penalty(*request.presence_penalty);
  if (request.frequency_penalty) sampling->set_frequency_penalty(*request.frequency_penalty);
  if (request.seed) sampling->set_seed(*request.seed);
  v1::StopOptions* stop = proto.mutable_stop();
  if (request.max_tokens) stop->set_max_tokens(*request.max_tokens);
  if (request.ignore_eos) stop->set_ignore_eos(*request.ignore_eos);
  for (const std::string& text : request.stop_strings) stop->add_stop_strings(text);
  for (const std::string& text : request.bad_words) sampling->add_bad_words(text);
  if (request.draft_tokens) proto.set_draft_tokens(*request.draft_tokens);
  if (!request.json_schema.empty()) {
    proto.mutable_constraint()->set_json_schema(request.json_schema);
  } else if (!request.regex.empty()) {
    proto.mutable_constraint()->set_regex(request.regex);
  } else if (!request.grammar.empty()) {
    proto.mutable_constraint()->set_grammar(request.grammar);
  }
  proto.set_tenant(request.tenant);
  if (request.priority != 0) proto.set_priority(request.priority);
  return proto;
}

// "FINISH_REASON_STOP" → "stop", "STATE_READY" → "ready".
std::string ShortName(absl::string_view enum_name, absl::string_view prefix) {
  absl::ConsumePrefix(&enum_name, prefix);
  return absl::AsciiStrToLower(enum_name);
}

ModelDescription FromProto(const v1::Model& model) {
  return {.name = model.name(),
          .family = model.family(),
          .state = ShortName(v1::Model::State_Name(model.state()), "STATE_"),
          .attention = model.attention(),
          .vocab_size = model.vocab_size(),
          .num_layers = model.num_layers(),
          .hidden_size = model.hidden_size(),
          .num_attention_heads = model.num_attention_heads(),
          .num_key_value_heads = model.num_key_value_heads(),
          .kv_lora_rank = model.kv_lora_rank(),
          .qk_rope_head_dim = model.qk_rope_head_dim(),
          .max_context_tokens = model.max_context_tokens(),
          .device = model.device(),
          .weight_bytes = model.weight_bytes(),
          .cache_dtype = model.cache_dtype(),
          .cache_bytes_per_token = model.cache_bytes_per_token(),
          .gqa_equivalent_cache_bytes_per_token = model.gqa_equivalent_cache_bytes_per_token(),
          .cache_pages = model.cache_pages(),
          .has_chat_template = model.has_chat_template(),
          .expanded_prompts = model.expanded_prompts()};
}

v1::ConvertModelRequest ToProto(const ConversionRequest& request) {
  v1::ConvertModelRequest proto;
  proto.set_source(request.source);
  proto.set_destination(request.destination);
  proto.set_overwrite(request.overwrite);
  proto.set_validate_only(request.validate_only);
  proto.set_serve_as(request.serve_as);
  v1::ConversionOptions* options = proto.mutable_options();
  options->set_recipe(request.recipe);
  options->set_format(request.format);
  options->set_dtype(request.dtype);
  if (request.shared_frequencies) options->set_shared_frequencies(*request.shared_frequencies);
  if (request.keep_output) options->set_keep_output(*request.keep_output);
  if (request.qk_rope_head_dim) options->set_qk_rope_head_dim(*request.qk_rope_head_dim);
  if (request.kv_lora_rank) options->set_kv_lora_rank(*request.kv_lora_rank);
  if (request.cache_ratio) options->set_cache_ratio(*request.cache_ratio);
  options->set_max_perplexity_increase(request.max_perplexity_increase);
  options->mutable_compare_ratios()->Assign(request.compare_ratios.begin(),
                                            request.compare_ratios.end());
  options->set_recovery_tokens(request.recovery_tokens);
  if (request.q_lora_rank) options->set_q_lora_rank(*request.q_lora_rank);
  if (request.freqfold) options->set_freqfold(*request.freqfold);
  if (request.balance_kv_ratio) options->set_balance_kv_ratio(*request.balance_kv_ratio);
  if (request.nsamples) options->set_nsamples(*request.nsamples);
  if (request.seqlen) options->set_seqlen(*request.seqlen);
  if (request.seed) options->set_seed(*request.seed);
  for (const std::string& file : request.text_files) options->add_text_files(file);
  options->set_sample_text(request.sample_text);
  if (request.evaluation_sequences) {
    options->set_evaluation_sequences(*request.evaluation_sequences);
  }
  return proto;
}

// The state of an operation, or the error it ended with.
absl::StatusOr<ConversionState> FromProto(const google::longrunning::Operation& operation) {
  if (operation.done() && operation.has_error()) return ToAbslStatus(operation.error());
  ConversionState state{.operation = operation.name(), .done = operation.done()};
  v1::ConvertModelMetadata metadata;
  if (operation.metadata().UnpackTo(&metadata)) {
    state.stage = metadata.stage();
    state.progress_ratio = metadata.progress_ratio();
    state.layers_done = metadata.layers_done();
    state.layers_total = metadata.layers_total();
    if (metadata.has_seconds_left()) state.time_left = absl::Seconds(metadata.seconds_left());
  }
  v1::ConvertModelResponse response;
  if (operation.done() && operation.response().UnpackTo(&response)) {
    state.report_json = response.report_json();
    state.load_operation = response.load_operation();
    state.load_error = ToAbslStatus(response.load_error());
  }
  return state;
}

class GrpcClient : public Client {
 public:
  explicit GrpcClient(const std::shared_ptr<grpc::Channel>& channel)
      : generation_(v1::GenerationService::NewStub(channel)),
        models_(v1::ModelService::NewStub(channel)),
        operations_(google::longrunning::Operations::NewStub(channel)) {}

  absl::StatusOr<CompletionResult> Generate(
      const CompletionRequest& request,
      const std::function<bool(const CompletionDelta&)>& on_delta) override {
    const absl::Time start = SystemClock()->Now();
    grpc::ClientContext context;
    SetDeadline(context, request.timeout);
    CompletionResult result;
    bool stopped = false;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader =
        generation_->Generate(&context, ToProto(request));
    for (v1::GenerateResponse response; reader->Read(&response);) {
      if (stopped) continue;  // the stream is drained after a cancel, so that Finish returns
      Take(response, start, result);
      if (response.has_chunk() && on_delta &&
          !on_delta({response.chunk().index(), response.chunk().text(),
                     response.usage().completion_tokens()})) {
        stopped = true;
        context.TryCancel();
      }
    }
    const absl::Status status = ToAbslStatus(reader->Finish());
    if (stopped) return absl::CancelledError("stopped by the caller");
    RETURN_IF_ERROR(status);
    result.total = SystemClock()->Now() - start;
    return result;
  }

  absl::StatusOr<std::vector<ModelDescription>> ListModels() override {
    std::vector<ModelDescription> models;
    v1::ListModelsRequest request;
    do {
      grpc::ClientContext context;
      SetDeadline(context, kShortCall);
      v1::ListModelsResponse response;
      RETURN_IF_ERROR(ToAbslStatus(models_->ListModels(&context, request, &response)));
      for (const v1::Model& model : response.models()) models.push_back(FromProto(model));
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return models;
  }

  absl::StatusOr<ModelDescription> LoadModel(const LoadRequest& request) override {
    v1::LoadModelRequest proto;
    proto.set_path(request.path);
    proto.set_name(request.name);
    proto.set_cache_dtype(request.cache_dtype);
    if (request.cache_memory_bytes) proto.set_cache_memory_bytes(*request.cache_memory_bytes);
    if (request.max_context_tokens) proto.set_max_context_tokens(*request.max_context_tokens);
    grpc::ClientContext context;
    SetDeadline(context, kShortCall);
    google::longrunning::Operation operation;
    RETURN_IF_ERROR(ToAbslStatus(models_->LoadModel(&context, proto, &operation)));
    return WaitLoad(operation.name());
  }

  absl::StatusOr<ModelDescription> WaitLoad(const std::string& operation) override {
    ASSIGN_OR_RETURN(const google::protobuf::Any result, WaitUntilDone(operation));
    v1::LoadModelResponse response;
    if (!result.UnpackTo(&response)) {
      return absl::InvalidArgumentError(absl::StrCat(operation, " loads no model"));
    }
    return FromProto(response.model());
  }

  absl::Status UnloadModel(const std::string& name) override {
    v1::UnloadModelRequest request;
    request.set_name(name);
    grpc::ClientContext context;
    SetDeadline(context, kShortCall);
    google::longrunning::Operation operation;
    RETURN_IF_ERROR(ToAbslStatus(models_->UnloadModel(&context, request, &operation)));
    return WaitUntilDone(operation.name()).status();
  }

  absl::StatusOr<std::vector<uint32_t>> Tokenize(const std::string& text) override {
    grpc::ClientContext context;
    SetDeadline(context, kShortCall);
    v1::TokenizeRequest request;
    request.set_text(text);
    v1::TokenizeResponse response;
    RETURN_IF_ERROR(ToAbslStatus(generation_->Tokenize(&context, request, &response)));
    return std::vector<uint32_t>(response.ids().begin(), response.ids().end());
  }

  absl::StatusOr<ConversionState> StartConversion(const ConversionRequest& request) override {
    grpc::ClientContext context;
    SetDeadline(context, kShortCall);
    google::longrunning::Operation operation;
    RETURN_IF_ERROR(ToAbslStatus(models_->ConvertModel(&context, ToProto(request), &operation)));
    return FromProto(operation);
  }

  absl::StatusOr<ConversionState> WaitConversion(const std::string& operation,
                                                 absl::Duration timeout) override {
    ASSIGN_OR_RETURN(const google::longrunning::Operation result,
                     WaitOperation(operation, timeout));
    return FromProto(result);
  }

  absl::Status CancelConversion(const std::string& operation) override {
    grpc::ClientContext context;
    SetDeadline(context, kShortCall);
    google::longrunning::CancelOperationRequest request;
    request.set_name(operation);
    google::protobuf::Empty response;
    return ToAbslStatus(operations_->CancelOperation(&context, request, &response));
  }

 private:
  absl::StatusOr<google::longrunning::Operation> WaitOperation(const std::string& name,
                                                               absl::Duration timeout) {
    grpc::ClientContext context;
    SetDeadline(context, timeout + kShortCall);
    google::longrunning::WaitOperationRequest request;
    request.set_name(name);
    request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(timeout));
    request.mutable_timeout()->set_nanos(static_cast<int32_t>(
        absl::ToInt64Nanoseconds(timeout - absl::Trunc(timeout, absl::Seconds(1)))));
    google::longrunning::Operation result;
    RETURN_IF_ERROR(ToAbslStatus(operations_->WaitOperation(&context, request, &result)));
    return result;
  }
  // The response of an operation, once it is done.
  absl::StatusOr<google::protobuf::Any> WaitUntilDone(const std::string& name) {
    while (true) {
      ASSIGN_OR_RETURN(const google::longrunning::Operation operation,
                       WaitOperation(name, absl::Seconds(10)));
      if (!operation.done()) continue;
      RETURN_IF_ERROR(ToAbslStatus(operation.error()));
      return operation.response();
    }
  }

  // Adds what one message of the stream says to `result`.
  static void Take(const v1::GenerateResponse& response, absl::Time start,
                   CompletionResult& result) {
    if (response.has_accepted()) {
      result.request_id = response.accepted().request_id();
      result.prompt_tokens = response.accepted().prompt_tokens();
      return;
    }
    result.cached_prompt_tokens = response.usage().cached_prompt_tokens();
    result.completion_tokens = response.usage().completion_tokens();
    if (response.has_chunk()) {
      if (result.time_to_first_token == absl::ZeroDuration()) {
        result.time_to_first_token = SystemClock()->Now() - start;
      }
      if (response.chunk().index() == 0) result.text += response.chunk().text();
    } else if (response.has_finished() && response.finished().index() == 0) {
      const v1::Finished& finished = response.finished();
      result.finish_reason = ShortName(v1::FinishReason_Name(finished.reason()), "FINISH_REASON_");
      result.seed = finished.seed();
      result.server_queue = absl::Milliseconds(finished.timings().queue_ms());
      result.server_prefill = absl::Milliseconds(finished.timings().prefill_ms());
      result.server_decode = absl::Milliseconds(finished.timings().decode_ms());
    }
  }

  std::unique_ptr<v1::GenerationService::Stub> generation_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<google::longrunning::Operations::Stub> operations_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, OpenChannel(options));
  return std::make_unique<GrpcClient>(channel);
}

}  // namespace transmla
