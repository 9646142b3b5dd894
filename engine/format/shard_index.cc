#include "engine/format/shard_index.h"

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include <nlohmann/json.hpp>

#include "engine/base/status.h"
#include "engine/format/json_check.h"
#include "engine/format/limits.h"

namespace transmla {
namespace {

using nlohmann::json;

bool IsPlainShardName(absl::string_view name) {
  return name.size() <= 255 && absl::EndsWith(name, ".safetensors") && name.front() != '.' &&
         name.find_first_of(absl::string_view("/\\\0", 3)) == absl::string_view::npos;
}

}  // namespace

absl::StatusOr<ShardMap> ParseShardIndex(const std::string& path, absl::string_view text) {
  RETURN_IF_ERROR(CheckJson(path, text));
  const json root = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  const auto map = root.find("weight_map");
  if (map == root.end() || !map->is_object() || map->empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": has no object \"weight_map\""));
  }
  if (static_cast<int64_t>(map->size()) > kMaxTensors) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": weight_map has ", map->size(), " tensors, more than the limit of ", kMaxTensors));
  }
  ShardMap shards;
  for (const auto& [name, shard] : map->items()) {
    if (!shard.is_string() || !IsPlainShardName(shard.get_ref<const std::string&>())) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": weight_map places tensor ", absl::CHexEscape(name.substr(0, 128)),
                       " in ", shard.dump(-1, ' ', true).substr(0, 128),
                       ", which is no plain name of a .safetensors file"));
    }
    shards.emplace(name, shard.get<std::string>());
  }
  return shards;
}

std::string FormatShardIndex(const ShardMap& shards, int64_t total_bytes) {
  return json({{"metadata", {{"total_size", total_bytes}}}, {"weight_map", shards}}).dump(2) + "\n";
}

}  // namespace transmla
