#include "engine/format/gguf_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/format/gguf_config.h"

namespace transmla {

absl::StatusOr<std::shared_ptr<const GgufReader>> GgufReader::Open(FileSystem& files,
                                                                   const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, files.Map(path));
  ASSIGN_OR_RETURN(GgufContents contents, ParseGguf(path, file->bytes()));
  ASSIGN_OR_RETURN(Config config, ConfigFromGguf(contents));
  if (config.name.empty()) config.name = std::string(BaseName(path));
  return std::shared_ptr<const GgufReader>(
      new GgufReader(std::move(file), std::move(contents), std::move(config)));
}

GgufReader::GgufReader(std::shared_ptr<const MappedFile> file, GgufContents contents, Config config)
    : file_(std::move(file)), contents_(std::move(contents)), config_(std::move(config)) {
  infos_.reserve(contents_.tensors.size());
  for (const GgufTensor& tensor : contents_.tensors) {
    infos_.push_back(tensor.info);
    by_name_.emplace(tensor.info.name, &tensor);
  }
}

absl::StatusOr<TensorView> GgufReader::Tensor(absl::string_view name) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) {
    return absl::NotFoundError(absl::StrCat(path(), ": has no tensor ", name));
  }
  const GgufTensor& tensor = *it->second;
  return TensorView{file_->bytes().data() + tensor.offset, tensor.info.dtype, tensor.info.shape};
}

void GgufReader::DontNeed(const TensorView& tensor) const {
  const int64_t offset = tensor.as<char>() - file_->bytes().data();
  file_->Advise(offset, tensor.bytes(), MappedFile::Access::kDontNeed);
}

}  // namespace transmla
