// A conversion of one of the tiny models of tests/golden, small enough to run a hundred times.
#ifndef TRANSMLA_TESTS_ENGINE_CONVERT_TINY_CONVERSION_H_
#define TRANSMLA_TESTS_ENGINE_CONVERT_TINY_CONVERSION_H_

#include <string>

#include "absl/strings/str_cat.h"

#include "engine/backend/cpu/create.h"
#include "engine/convert/options.h"
#include "engine/convert/pipeline.h"

namespace transmla::testing {

// Hyper-parameters of all tiny models.
inline constexpr int kTinyLayers = 2;
inline constexpr int kTinyWidth = 32;  // num_key_value_heads · head_dim = 2 · 16

inline std::string TinyModel(absl::string_view name) {
  return absl::StrCat(TRANSMLA_SOURCE_DIR, "/tests/golden/tiny_models/", name);
}

inline ConvertOptions TinyOptions(absl::string_view model, std::string destination) {
  ConvertOptions options;
  options.source = TinyModel(model);
  options.destination = std::move(destination);
  options.recipe = Recipe::kTransMla;
  options.qk_rope_head_dim = 8;
  options.kv_lora_rank = 24;
  options.sample_text = true;
  options.nsamples = 6;
  options.seqlen = 33;
  options.evaluation_sequences = 2;
  options.evaluation_length = 40;
  return options;
}

inline ConversionContext TinyContext() {
  ConversionContext context;
  context.make_backend = [] { return CreateCpuBackend({.threads = 1}); };
  return context;
}

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_CONVERT_TINY_CONVERSION_H_
