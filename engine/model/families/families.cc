// The list of families. Explicit, so that a reader finds it and a linker cannot lose one.
#include <array>
#include <string>

#include "absl/strings/str_cat.h"

#include "engine/model/family.h"

namespace transmla {

absl::StatusOr<const Family*> FindFamily(const CheckpointReader& checkpoint) {
  const std::array<const Family*, 3> families = {&kLlama, &kQwen2, &kTransMla};
  std::string supported;
  for (const Family* family : families) {
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
