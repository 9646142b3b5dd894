#include "engine/format/safetensors_writer.h"

#include <cstring>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <nlohmann/json.hpp>

#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/format/limits.h"
#include "engine/format/safetensors_header.h"
#include "engine/format/shard_index.h"

namespace transmla {
namespace {

constexpr absl::string_view kIndexName = "model.safetensors.index.json";

// Whether the format can hold the tensor and its size fits.
absl::Status CheckDeclared(const TensorInfo& info) {
  if (info.name.empty() || info.name == "__metadata__" ||
      static_cast<int64_t>(info.name.size()) > kMaxTensorNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", info.name.substr(0, 64), "\" cannot be the name of a tensor"));
  }
  if (SafetensorsDTypeName(info.dtype).empty()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name, " is of type ",
                                                   DTypeName(info.dtype),
                                                   ", which safetensors files cannot hold"));
  }
  std::optional<int64_t> bytes = TraitsOf(info.dtype).block_bytes;
  for (const int64_t dim : info.shape.dims()) {
    if (bytes.has_value()) bytes = CheckedMul(*bytes, dim);
  }
  if (!bytes.has_value() || *bytes == 0) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name, " has the shape ",
                                                   info.shape.ToString(),
                                                   ", which is empty or too large"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(
    FileSystem& files, const std::string& folder, std::vector<TensorInfo> tensors,
    SafetensorsWriterOptions options) {
  std::unique_ptr<SafetensorsWriter> writer(
      new SafetensorsWriter(files, folder, std::move(tensors), std::move(options)));
  const absl::Status planned = Annotate(writer->Plan(), folder);
  if (!planned.ok()) return planned;
  RETURN_IF_ERROR(writer->CheckFolder());
  return writer;
}

SafetensorsWriter::SafetensorsWriter(FileSystem& files, std::string folder,
                                     std::vector<TensorInfo> tensors,
                                     SafetensorsWriterOptions options)
    : TensorWriter(files, folder, std::move(tensors)),
      folder_(std::move(folder)),
      options_(std::move(options)) {}

absl::Status SafetensorsWriter::Plan() {
  const absl::Span<const TensorInfo> tensors = queue_.tensors();
  if (tensors.empty()) return absl::InvalidArgumentError("a checkpoint needs at least one tensor");
  absl::flat_hash_set<absl::string_view> names;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& info = tensors[i];
    RETURN_IF_ERROR(CheckDeclared(info));
    if (!names.insert(info.name).second) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", info.name, " is declared twice"));
    }
    const int64_t bytes = TensorBytes(info);
    const std::optional<int64_t> total = CheckedAdd(total_bytes_, bytes);
    if (!total.has_value()) return absl::InvalidArgumentError("the tensors are too large");
    total_bytes_ = *total;
    if (shards_.empty() || bytes > options_.max_shard_bytes - shards_.back().bytes) {
      shards_.push_back({.begin = i});
    }
    Shard& shard = shards_.back();
    if (shard.bytes % TraitsOf(info.dtype).block_bytes != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", info.name, " of ", DTypeName(info.dtype), " would start at byte ",
                       shard.bytes, "; declare tensors of wider types first"));
    }
    shard.end = i + 1;
    shard.bytes += bytes;
  }
  for (size_t i = 0; i < shards_.size(); ++i) {
    shards_[i].name = shards_.size() == 1 ? "model.safetensors"
                                          : absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1,
                                                            shards_.size());
  }
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::CheckFolder() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(folder_));
  for (const std::string& name : names) {
    if (absl::EndsWith(name, ".safetensors") || name == kIndexName) {
      return absl::AlreadyExistsError(absl::StrCat(
          JoinPath(folder_, name), ": exists; weights are written to a fresh folder only"));
    }
  }
  ASSIGN_OR_RETURN(const int64_t space, files_.SpaceLeft(folder_));
  if (space < total_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(folder_, ": the weights need ", total_bytes_,
                                                     " bytes but the disk has ", space, " left"));
  }
  return absl::OkStatus();
}

std::string SafetensorsWriter::TemporaryPath(const Shard& shard) const {
  return JoinPath(folder_, absl::StrCat(shard.name, ".tmp"));
}

// Length, then JSON padded with spaces to a multiple of eight: data starts aligned for every type.
std::string SafetensorsWriter::Header(const Shard& shard) const {
  nlohmann::ordered_json header;
  if (!options_.metadata.empty()) header["__metadata__"] = options_.metadata;
  int64_t offset = 0;
  for (size_t i = shard.begin; i < shard.end; ++i) {
    const TensorInfo& info = queue_.tensors()[i];
    const absl::Span<const int64_t> dims = info.shape.dims();
    header[info.name] = {{"dtype", std::string(SafetensorsDTypeName(info.dtype))},
                         {"shape", std::vector<int64_t>(dims.begin(), dims.end())},
                         {"data_offsets", {offset, offset + TensorBytes(info)}}};
    offset += TensorBytes(info);
  }
  std::string text = header.dump(-1, ' ', /*ensure_ascii=*/false,
                                 nlohmann::ordered_json::error_handler_t::replace);
  text.resize(AlignUp<size_t>(text.size(), 8), ' ');
  const uint64_t length = text.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + text;
}

absl::Status SafetensorsWriter::Write(absl::string_view bytes) {
  if (file_ == nullptr) RETURN_IF_ERROR(OpenShard());
  RETURN_IF_ERROR(file_->Append(bytes));
  const bool whole = queue_.Wrote(static_cast<int64_t>(bytes.size()));
  if (!whole || queue_.complete() < shards_[shard_].end) return absl::OkStatus();
  return CloseShard();
}

absl::Status SafetensorsWriter::OpenShard() {
  const std::string path = TemporaryPath(shards_[shard_]);
  WillMake(path);
  ASSIGN_OR_RETURN(file_, files_.Create(path));
  return file_->Append(Header(shards_[shard_]));
}

absl::Status SafetensorsWriter::CloseShard() {
  RETURN_IF_ERROR(file_->SyncAndClose());
  file_.reset();
  ++shard_;
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Publish() {
  ShardMap places;
  for (const Shard& shard : shards_) {
    const std::string path = JoinPath(folder_, shard.name);
    WillMake(path);
    RETURN_IF_ERROR(files_.Rename(TemporaryPath(shard), path));
    for (size_t i = shard.begin; i < shard.end; ++i)
      places.emplace(queue_.tensors()[i].name, shard.name);
  }
  if (shards_.size() == 1) return absl::OkStatus();
  const std::string index = JoinPath(folder_, kIndexName);
  WillMake(index);
  return WriteFileAtomically(files_, index, FormatShardIndex(places, total_bytes_));
}

}  // namespace transmla
