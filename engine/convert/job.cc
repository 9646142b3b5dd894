#include "engine/convert/job.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

#include "engine/convert/work_folder.h"

namespace transmla {
namespace {

constexpr int64_t kBytesOfATensor = 256;

uint32_t ChecksumOf(const std::vector<std::vector<int32_t>>& sequences) {
  uint32_t checksum = 0;
  for (const std::vector<int32_t>& ids : sequences)
    checksum = Checksum({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)},
                        checksum);
  return checksum;
}

uint32_t ChecksumOf(const CheckpointReader& source) {
  uint32_t checksum = 0;
  for (const TensorInfo& info : source.tensors()) {
    checksum =
        Checksum(absl::StrCat(info.name, DTypeName(info.dtype), info.shape.ToString()), checksum);
    const absl::StatusOr<TensorView> view = source.Tensor(info.name);
    if (!view.ok()) continue;
    const int64_t bytes = view->shape.rows() * RowBytes(view->dtype, view->shape.cols());
    checksum = Checksum({view->as<char>(), static_cast<size_t>(std::min(bytes, kBytesOfATensor))},
                        checksum);
  }
  return checksum;
}

}  // namespace

std::string JobOf(const ConvertOptions& options, const CheckpointReader& source,
                  const TextSplit& text) {
  nlohmann::ordered_json json;
  json["source"] = source.path();
  json["source_checksum"] = ChecksumOf(source);
  json["recipe"] = RecipeName(options.recipe);
  json["format"] = OutputFormatName(options.format);
  json["shape"] = {options.qk_rope_head_dim, options.kv_lora_rank, options.q_lora_rank,
                   options.freqfold};
  json["cache_ratio"] = options.cache_ratio;
  json["max_perplexity_increase"] = options.max_perplexity_increase;
  json["compare_ratios"] = options.compare_ratios;
  json["shared_frequencies"] = options.shared_frequencies;
  json["keep_output"] = options.keep_output;
  json["balance_kv_ratio"] = options.balance_kv_ratio;
  json["sequences"] = {options.nsamples, options.seqlen, options.evaluation_sequences,
                       options.evaluation_length};
  json["seed"] = options.seed;
  json["recovery"] = {static_cast<double>(options.recovery_tokens), options.recovery_learning_rate};
  json["text"] = {ChecksumOf(text.calibration), ChecksumOf(text.choice),
                  ChecksumOf(text.evaluation)};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace transmla
