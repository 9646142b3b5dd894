// model.safetensors.index.json: which shard holds which tensor.
#ifndef TRANSMLA_ENGINE_FORMAT_SHARD_INDEX_H_
#define TRANSMLA_ENGINE_FORMAT_SHARD_INDEX_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace transmla {

// Tensor name → file name. Ordered, so that shards are opened and reported in one order everywhere.
using ShardMap = std::map<std::string, std::string>;

// `path` is for messages. Shards are plain names of .safetensors files, never paths: an index
// cannot reach out of its folder. Returns InvalidArgument naming entry and value otherwise.
absl::StatusOr<ShardMap> ParseShardIndex(const std::string& path, absl::string_view text);

// The inverse: {"metadata": {"total_size": bytes}, "weight_map": {…}}.
std::string FormatShardIndex(const ShardMap& shards, int64_t total_bytes);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_SHARD_INDEX_H_
