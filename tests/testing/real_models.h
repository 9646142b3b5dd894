// Where the real models are that tests run: scripts/fetch-models puts them there.
#ifndef TRANSMLA_TESTS_TESTING_REAL_MODELS_H_
#define TRANSMLA_TESTS_TESTING_REAL_MODELS_H_

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace transmla::testing {

inline constexpr absl::string_view kSmolLm2 = "SmolLM2-135M-Instruct.Q4_1.gguf";
inline constexpr absl::string_view kQwen = "Qwen2.5-Coder-0.5B-Instruct.Q4_K_M.gguf";

// The file may be missing.
inline std::string RealModelPath(absl::string_view file) {
  if (const char* folder = std::getenv("TRANSMLA_MODELS")) return absl::StrCat(folder, "/", file);
  const char* home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "" : home, "/.cache/transmla/models/", file);
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_TESTING_REAL_MODELS_H_
