// Tiny models in Hugging Face's format that can become GGUF.
#ifndef TRANSMLA_TESTS_ENGINE_CONVERT_NAMED_TOKENIZER_H_
#define TRANSMLA_TESTS_ENGINE_CONVERT_NAMED_TOKENIZER_H_

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

#include "tests/engine/convert/tiny_conversion.h"
#include "tests/testing/temp_folder.h"

namespace transmla::testing {

// A copy of the model's folder in `folder`, made once, whose tokenizer is Llama 3's, which GGUF has
// a name for: the models' own has a normalizer too.
inline std::string WithNamedTokenizer(absl::string_view model, const TempFolder& folder) {
  const std::string name = absl::StrCat(model, "-named");
  if (std::filesystem::exists(folder.File(name))) return folder.File(name);
  std::filesystem::copy(TinyModel(model), folder.File(name));
  const std::string file = absl::StrCat(name, "/tokenizer.json");
  nlohmann::json tokenizer = nlohmann::json::parse(folder.Read(file));
  tokenizer["normalizer"] = nullptr;
  folder.Write(file, tokenizer.dump());
  return folder.File(name);
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_CONVERT_NAMED_TOKENIZER_H_
