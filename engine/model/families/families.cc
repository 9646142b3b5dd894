// The list of families. Explicit, so that a reader finds it and a linker cannot lose one.
#include <array>
#include <string>

#include "absl/strings/str_cat.h"

#include "engine/model/family.h"

namespace transmla {

absl::Span<const Family* const> Families() {
  static constexpr std::array kFamilies = {&kLlama,  &kMistral,  &kMixtral, &kQwen2,
                                           &kQwen3,  &kQwen3Moe, &kMimo,    &kPhi3,
                                           &kGemma2, &kGemma3,   &kTransMla};
  return kFamilies;
}

absl::StatusOr<const Family*> FindFamily(const CheckpointReader& checkpoint) {
  std::string supported;
  for (const Family* family : Families()) {
    for (const absl::string_view architecture : family->architectures) {
      if (architecture == checkpoint.config().architecture) return family;
      absl::StrAppend(&supported, supported.empty() ? "" : ", ", architecture);
    }
  }
  return absl::UnimplementedError(absl::StrCat(checkpoint.path(), ": architecture \"",
                                               checkpoint.config().architecture,
                                               "\" is not supported; these are: ", supported));
}

}  // namespace transmla
