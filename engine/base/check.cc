#include "engine/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace transmla {

void CheckFailed(const char* file, int line, absl::string_view what) {
  std::fprintf(stderr, "%s:%d: CHECK failed: %.*s\n", file, line, static_cast<int>(what.size()),
               what.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace transmla
