#include "engine/tokenizer/sentencepiece_open.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include <dlfcn.h>

namespace transmla {
namespace {

constexpr char kModule[] = "libtransmla_sentencepiece.so";

absl::StatusOr<SentencePieceFactory> OpenModule() {
  // TRANSMLA_DLOPEN_ISOLATED comes from the build: the module prefers its own symbols over the
  // program's, where no sanitizer forbids it.
  void* const module = dlopen(kModule, RTLD_NOW | RTLD_LOCAL | TRANSMLA_DLOPEN_ISOLATED);
  void* const symbol = module == nullptr ? nullptr : dlsym(module, kSentencePieceFactory);
  if (symbol == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("this model needs SentencePiece, which cannot be opened: ", dlerror(),
                     "; keep ", kModule, " beside the program and install libsentencepiece0"));
  }
  return reinterpret_cast<SentencePieceFactory>(symbol);
}

}  // namespace

absl::StatusOr<std::unique_ptr<SentencePieceLibrary>> OpenSentencePiece() {
  static const auto* const factory = new absl::StatusOr<SentencePieceFactory>(OpenModule());
  if (!factory->ok()) return factory->status();
  return std::unique_ptr<SentencePieceLibrary>((**factory)());
}

}  // namespace transmla
