// OpenCheckpoint (checkpoint.h): tells formats apart by what files contain, not by how they are
// called.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "engine/base/file.h"
#include "engine/base/status.h"
#include "engine/format/checkpoint.h"
#include "engine/format/gguf_reader.h"
#include "engine/format/safetensors_reader.h"

namespace transmla {
namespace {

constexpr absl::string_view kSupported =
    "supported are GGUF files, .safetensors files and Hugging Face folders with safetensors";

using Reader = absl::StatusOr<std::shared_ptr<const CheckpointReader>>;

// What a file is, from its first bytes.
enum class Content { kEmpty, kGguf, kSafetensors, kLfsPointer, kPickle, kUnknown };

Content Recognise(absl::string_view bytes) {
  if (bytes.empty()) return Content::kEmpty;
  if (absl::StartsWith(bytes, kGgufMagic)) return Content::kGguf;
  if (absl::StartsWith(bytes, "version https://git-lfs")) return Content::kLfsPointer;
  // A zip archive, as torch.save writes since 1.6, or a bare pickle of protocol 2 and later.
  if (absl::StartsWith(bytes, "PK\x03\x04") || absl::StartsWith(bytes, "\x80\x02")) {
    return Content::kPickle;
  }
  // Eight bytes of length, then the header's object.
  if (bytes.size() > 8 && bytes[8] == '{') return Content::kSafetensors;
  return Content::kUnknown;
}

absl::Status PickleError(absl::string_view path, absl::string_view verb) {
  return absl::UnimplementedError(absl::StrCat(
      path, ": ", verb, " a PyTorch pickle, which can run code when it is read; ", kSupported));
}

Reader OpenFile(FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, files.Map(path));
  const absl::string_view start = file->bytes().substr(0, 64);
  switch (Recognise(start)) {
    case Content::kEmpty:
      return absl::InvalidArgumentError(absl::StrCat(path, ": the file is empty"));
    case Content::kLfsPointer:
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": is a Git LFS pointer, not the weights; fetch them with git lfs pull"));
    case Content::kPickle:
      return PickleError(path, "is");
    case Content::kGguf:
      return GgufReader::Open(files, path);
    case Content::kSafetensors:
      return SafetensorsReader::OpenFile(files, path);
    case Content::kUnknown:
      break;
  }
  // A broken file of a known kind gets that reader's message.
  if (absl::EndsWithIgnoreCase(path, ".safetensors"))
    return SafetensorsReader::OpenFile(files, path);
  if (absl::EndsWithIgnoreCase(path, ".gguf")) return GgufReader::Open(files, path);
  return absl::InvalidArgumentError(absl::StrCat(path, ": is of no known format (it starts with \"",
                                                 absl::CHexEscape(start.substr(0, 8)), "\"); ",
                                                 kSupported));
}

Reader OpenFolder(FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files.List(path));
  bool has_safetensors = false;
  bool has_pickle = false;
  std::vector<std::string> gguf;
  for (const std::string& name : names) {
    has_safetensors |= name == "model.safetensors" || name == "model.safetensors.index.json";
    has_pickle |= absl::EndsWith(name, ".bin") || absl::EndsWith(name, ".pth");
    if (absl::EndsWithIgnoreCase(name, ".gguf")) gguf.push_back(JoinPath(path, name));
  }
  if (!has_safetensors && gguf.size() == 1) return OpenFile(files, gguf[0]);
  if (!has_safetensors && !gguf.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": holds ", gguf.size(), " GGUF files; name one of them, as ", gguf[0]));
  }
  if (!has_safetensors && has_pickle) return PickleError(path, "holds");
  if (!has_safetensors) {
    return absl::NotFoundError(absl::StrCat(
        path, ": has neither model.safetensors nor model.safetensors.index.json; ", kSupported));
  }
  const std::string single = JoinPath(path, "model.safetensors");
  if (files.Kind(single) == PathKind::kFile) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, files.Map(single));
    if (Recognise(file->bytes().substr(0, 64)) == Content::kLfsPointer) {
      return OpenFile(files, single);
    }
  }
  return SafetensorsReader::OpenFolder(files, path);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const CheckpointReader>> OpenCheckpoint(const std::string& path) {
  FileSystem& files = *PosixFileSystem();
  switch (files.Kind(path)) {
    case PathKind::kMissing:
      return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
    case PathKind::kFile:
      return OpenFile(files, path);
    case PathKind::kFolder:
      return OpenFolder(files, path);
    case PathKind::kOther:
      break;
  }
  return absl::InvalidArgumentError(absl::StrCat(path, ": is neither a file nor a folder"));
}

}  // namespace transmla
