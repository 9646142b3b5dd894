#include "engine/format/safetensors_reader.h"

#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/format/hf_config.h"
#include "engine/format/limits.h"
#include "engine/format/shard_index.h"

namespace transmla {

absl::StatusOr<std::shared_ptr<const SafetensorsReader>> SafetensorsReader::OpenFolder(
    FileSystem& files, const std::string& folder) {
  std::shared_ptr<SafetensorsReader> reader(new SafetensorsReader(folder));
  const std::string single = JoinPath(folder, "model.safetensors");
  const std::string index = JoinPath(folder, "model.safetensors.index.json");
  if (files.Kind(single) == PathKind::kFile) {
    RETURN_IF_ERROR(reader->AddShard(files, single));
  } else if (files.Kind(index) == PathKind::kFile) {
    RETURN_IF_ERROR(reader->ReadIndex(files, folder, index));
  } else {
    return absl::NotFoundError(
        absl::StrCat(folder, ": has neither model.safetensors nor model.safetensors.index.json"));
  }
  RETURN_IF_ERROR(reader->ReadConfig(files, folder));
  return reader;
}

absl::StatusOr<std::shared_ptr<const SafetensorsReader>> SafetensorsReader::OpenFile(
    FileSystem& files, const std::string& path) {
  std::shared_ptr<SafetensorsReader> reader(new SafetensorsReader(path));
  RETURN_IF_ERROR(reader->AddShard(files, path));
  RETURN_IF_ERROR(reader->ReadConfig(files, ParentFolder(path)));
  return reader;
}

absl::Status SafetensorsReader::ReadConfig(FileSystem& files, const std::string& folder) {
  const std::string path = JoinPath(folder, "config.json");
  if (files.Kind(path) == PathKind::kMissing) {
    return absl::NotFoundError(absl::StrCat(
        folder, ": has no config.json; download the whole model folder, not its weights alone"));
  }
  ASSIGN_OR_RETURN(const std::string text, files.Read(path, kMaxConfigBytes));
  ASSIGN_OR_RETURN(HfConfig parsed, ParseHfConfig(path, text));
  config_ = std::move(parsed.config);
  const absl::string_view name = BaseName(folder);
  config_.name = std::string(name == "." || name == ".." ? config_.architecture : name);
  if (!parsed.gives_tie_word_embeddings) config_.tie_word_embeddings = !Has("lm_head.weight");
  const std::string generation = JoinPath(folder, "generation_config.json");
  if (files.Kind(generation) == PathKind::kMissing) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string generation_text, files.Read(generation, kMaxConfigBytes));
  return ApplyGenerationConfig(generation, generation_text, config_);
}

absl::Status SafetensorsReader::ReadIndex(FileSystem& files, const std::string& folder,
                                          const std::string& index) {
  ASSIGN_OR_RETURN(const std::string text, files.Read(index, kMaxIndexBytes));
  ASSIGN_OR_RETURN(const ShardMap places, ParseShardIndex(index, text));
  std::set<std::string> names;
  for (const auto& [tensor, shard] : places) names.insert(shard);
  if (static_cast<int64_t>(names.size()) > kMaxShards) {
    return absl::InvalidArgumentError(absl::StrCat(index, ": names ", names.size(),
                                                   " shards, more than the limit of ", kMaxShards));
  }
  for (const std::string& name : names) {
    const std::string shard = JoinPath(folder, name);
    if (files.Kind(shard) == PathKind::kMissing) {
      return absl::NotFoundError(absl::StrCat(shard, ": is named by ", BaseName(index),
                                              " but does not exist; the ",
                                              "download is probably incomplete"));
    }
    RETURN_IF_ERROR(AddShard(files, shard));
  }
  for (const auto& [tensor, shard] : places) {
    const auto found = by_name_.find(tensor);
    if (found == by_name_.end() || BaseName(found->second.shard->path()) != shard) {
      return absl::InvalidArgumentError(absl::StrCat(index, ": places tensor ",
                                                     absl::CHexEscape(tensor), " in ", shard,
                                                     ", which does not hold it"));
    }
  }
  if (by_name_.size() != places.size()) {
    for (const TensorInfo& info : infos_) {
      if (places.count(info.name) != 0) continue;
      return absl::InvalidArgumentError(absl::StrCat(index, ": does not name tensor ",
                                                     absl::CHexEscape(info.name),
                                                     ", which the shards hold"));
    }
  }
  return absl::OkStatus();
}

absl::Status SafetensorsReader::AddShard(FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> shard, files.Map(path));
  ASSIGN_OR_RETURN(std::vector<SafetensorsEntry> entries,
                   ParseSafetensorsHeader(path, shard->bytes()));
  for (SafetensorsEntry& entry : entries) {
    const Place place{shard.get(), entry.offset, infos_.size()};
    const auto [existing, inserted] = by_name_.try_emplace(entry.info.name, place);
    if (!inserted) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": tensor ", absl::CHexEscape(entry.info.name), " is also in ",
                       existing->second.shard->path()));
    }
    infos_.push_back(std::move(entry.info));
  }
  shards_.push_back(std::move(shard));
  return absl::OkStatus();
}

absl::StatusOr<TensorView> SafetensorsReader::Tensor(absl::string_view name) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) {
    return absl::NotFoundError(absl::StrCat(path_, ": has no tensor ", name));
  }
  const TensorInfo& info = infos_[it->second.info];
  return TensorView{it->second.shard->bytes().data() + it->second.offset, info.dtype, info.shape};
}

}  // namespace transmla
