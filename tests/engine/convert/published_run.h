// What TransMLA's published code gave on given token ids, and our `transmla` recipe on the same.
//
// tests/golden/make_transmla_reference.py runs the published code and records its choices,
// perplexities and bases; here they are read, and our recipe's are measured against them.
#ifndef TRANSMLA_TESTS_ENGINE_CONVERT_PUBLISHED_RUN_H_
#define TRANSMLA_TESTS_ENGINE_CONVERT_PUBLISHED_RUN_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "engine/convert/calibrate.h"
#include "engine/convert/pipeline.h"
#include "engine/convert/source_weights.h"
#include "engine/convert/work_folder.h"
#include "engine/linalg/matrix.h"

namespace transmla::testing {

// One conversion by the published code.
struct PublishedSetting {
  int qk_rope_head_dim = 0;
  int kv_lora_rank = 0;
  int freqfold = 0;
  double partial_rope_perplexity = 0;
  double perplexity = 0;
  std::vector<double> key_divisors;  // a layer
};

struct PublishedRun {
  double source_perplexity = 0;
  std::vector<PublishedSetting> settings;
  // Orthonormal columns in the source's coordinates: "rope16.layer3.rope_basis" [L, Dr] spans the
  // keys that keep RoPE, "rope16.layer3.latent_basis" [2·L, rank] the latent of [key; value].
  std::map<std::string, Matrix> bases;
  // The first of the ids it was given, to be sure that ours are the same; and all of them, where
  // they are recorded (else empty).
  std::vector<int32_t> calibration_first_ids, evaluation_first_ids;
  std::vector<std::vector<int32_t>> calibration, evaluation;
};

// tests/golden/transmla/`name`.json and .safetensors.
absl::StatusOr<PublishedRun> ReadPublishedRun(const std::string& name);

// Ours beside one published setting.
struct ParityRow {
  int freqfold = 0;
  double partial_rope_perplexity = 0;  // 0: not measured
  double perplexity = 0;
  // Largest principal angles between our subspaces and the published ones over the layers recorded,
  // degrees.
  double rope_angle = 0;
  double latent_angle = 0;
  int layers_compared = 0;
  double divisor_difference = 0;  // largest relative one of the key divisors, over all layers
};

// What all settings of a model share.
struct ParitySource {
  const ConversionContext* context = nullptr;
  const SourceWeights* weights = nullptr;
  WorkFolder* work = nullptr;  // moments that settings share stay here
  TokenSequences calibration, evaluation;
  TokenSequences partial_rope_evaluation;  // for the model with partial RoPE; may be empty
};

// Runs the recipe at the published setting. `search`: chooses freqfold itself, on the calibration
// text, instead of taking the published choice.
absl::StatusOr<ParityRow> RunParity(const ParitySource& source, const PublishedRun& published,
                                    const PublishedSetting& setting, bool search);

// Largest principal angle between the spans of `a` and `b` (columns, orthonormal up to rounding),
// degrees. REQUIRES: as many columns.
double LargestAngle(const Matrix& a, const Matrix& b);

}  // namespace transmla::testing

#endif  // TRANSMLA_TESTS_ENGINE_CONVERT_PUBLISHED_RUN_H_
