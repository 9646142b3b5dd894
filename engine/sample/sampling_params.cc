#include "engine/sample/sampling_params.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "engine/base/status.h"

namespace transmla {
namespace {

constexpr size_t kMaxStopStrings = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxStopTokens = 1024;
constexpr size_t kMaxLogitBiases = 1024;

absl::Status OutOfRange(absl::string_view field, const absl::AlphaNum& value,
                        absl::string_view range) {
  return absl::InvalidArgumentError(absl::StrCat(field, " is ", value, "; it must be ", range));
}

}  // namespace

absl::Status Validate(const SamplingParams& sampling) {
  // Written so that NaN fails every comparison.
  if (!(sampling.temperature >= 0 && sampling.temperature <= 100)) {
    return OutOfRange("temperature", sampling.temperature, "between 0 and 100");
  }
  if (sampling.top_k < 0) return OutOfRange("top_k", sampling.top_k, "0 (all) or more");
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    return OutOfRange("top_p", sampling.top_p, "above 0 and at most 1");
  }
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) {
    return OutOfRange("min_p", sampling.min_p, "between 0 and 1");
  }
  if (!(sampling.typical_p > 0 && sampling.typical_p <= 1)) {
    return OutOfRange("typical_p", sampling.typical_p, "above 0 and at most 1");
  }
  if (!(sampling.repetition_penalty >= 0.01f && sampling.repetition_penalty <= 10)) {
    return OutOfRange("repetition_penalty", sampling.repetition_penalty, "between 0.01 and 10");
  }
  if (!(std::abs(sampling.presence_penalty) <= 2)) {
    return OutOfRange("presence_penalty", sampling.presence_penalty, "between -2 and 2");
  }
  if (!(std::abs(sampling.frequency_penalty) <= 2)) {
    return OutOfRange("frequency_penalty", sampling.frequency_penalty, "between -2 and 2");
  }
  if (sampling.logit_bias.size() > kMaxLogitBiases) {
    return OutOfRange("the number of logit_bias entries", sampling.logit_bias.size(),
                      absl::StrCat("at most ", kMaxLogitBiases));
  }
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (!(std::abs(bias) <= 100)) {
      return OutOfRange(absl::StrCat("the logit_bias of token ", token), bias,
                        "between -100 and 100");
    }
  }
  return absl::OkStatus();
}

absl::Status Validate(const StopParams& stop) {
  if (stop.max_tokens < 0) return OutOfRange("max_tokens", stop.max_tokens, "0 or more");
  if (stop.min_tokens < 0) return OutOfRange("min_tokens", stop.min_tokens, "0 or more");
  if (stop.max_tokens > 0 && stop.min_tokens > stop.max_tokens) {
    return OutOfRange("min_tokens", stop.min_tokens,
                      absl::StrCat("at most max_tokens (", stop.max_tokens, ")"));
  }
  if (stop.stop_strings.size() > kMaxStopStrings) {
    return OutOfRange("the number of stop_strings", stop.stop_strings.size(),
                      absl::StrCat("at most ", kMaxStopStrings));
  }
  for (const std::string& text : stop.stop_strings) {
    if (text.empty() || text.size() > kMaxStopBytes) {
      return OutOfRange("the length of a stop string", text.size(),
                        absl::StrCat("1 to ", kMaxStopBytes, " bytes"));
    }
  }
  if (stop.stop_token_ids.size() > kMaxStopTokens) {
    return OutOfRange("the number of stop_token_ids", stop.stop_token_ids.size(),
                      absl::StrCat("at most ", kMaxStopTokens));
  }
  return absl::OkStatus();
}

}  // namespace transmla
