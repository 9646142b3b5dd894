#include "engine/model/rope.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"

namespace transmla {
namespace {

constexpr double kTwoPi = 6.283185307179586;

// Llama 3.1: wavelengths beyond the trained context are stretched by `factor`, short ones stay,
// between them a blend.
double Llama3(double frequency, const RopeScaling& scaling) {
  const double wavelength = kTwoPi / frequency;
  const double context = static_cast<double>(scaling.original_max_position_embeddings);
  if (wavelength < context / scaling.high_freq_factor) return frequency;
  if (wavelength > context / scaling.low_freq_factor) return frequency / scaling.factor;
  const double smooth = (context / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - smooth) * frequency / scaling.factor + smooth * frequency;
}

// YaRN, section 3.2: the pair that makes `rotations` turns over the trained context.
double YarnPair(double rotations, int rotary_dim, double theta, double context) {
  return rotary_dim * std::log(context / (rotations * kTwoPi)) / (2 * std::log(theta));
}

double YarnMagnitude(double factor, double scale) {
  return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0;
}

void ApplyYarn(int rotary_dim, double theta, const RopeScaling& scaling, int64_t max_positions,
               std::vector<double>& frequencies, Rope& rope) {
  const double context = static_cast<double>(scaling.original_max_position_embeddings > 0
                                                 ? scaling.original_max_position_embeddings
                                                 : max_positions);
  const double low =
      std::max(std::floor(YarnPair(scaling.beta_fast, rotary_dim, theta, context)), 0.0);
  const double high = std::min(std::ceil(YarnPair(scaling.beta_slow, rotary_dim, theta, context)),
                               static_cast<double>(rotary_dim - 1));
  const double width = std::max(high - low, 0.001);
  for (size_t t = 0; t < frequencies.size(); ++t) {
    const double ramp = std::clamp((static_cast<double>(t) - low) / width, 0.0, 1.0);
    frequencies[t] = frequencies[t] / scaling.factor * ramp + frequencies[t] * (1 - ramp);
  }
  if (scaling.attention_factor) {
    rope.magnitude = static_cast<float>(*scaling.attention_factor);
  } else if (scaling.mscale && scaling.mscale_all_dim) {
    rope.magnitude = static_cast<float>(YarnMagnitude(scaling.factor, *scaling.mscale) /
                                        YarnMagnitude(scaling.factor, *scaling.mscale_all_dim));
  } else {
    rope.magnitude = static_cast<float>(YarnMagnitude(scaling.factor, 1));
  }
}

// LongRoPE: every pair has a factor of its own.
absl::Status ApplyLongRope(const RopeScaling& scaling, int64_t max_positions,
                           std::vector<double>& frequencies, Rope& rope) {
  const int64_t original = scaling.original_max_position_embeddings;
  const bool alike = !scaling.short_factor.empty() && scaling.short_factor == scaling.long_factor;
  if (original < 2 && !alike) {
    return absl::InvalidArgumentError(
        absl::StrCat("rope_scaling of type longrope needs original_max_position_embeddings, which "
                     "is ",
                     original));
  }
  const bool is_long = IsLongContext(scaling, max_positions);
  const std::vector<double>& factors = is_long ? scaling.long_factor : scaling.short_factor;
  if (!factors.empty() && factors.size() != frequencies.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rope_scaling.", is_long ? "long" : "short", "_factor has ", factors.size(),
                     " elements; there are ", frequencies.size(), " rotary pairs"));
  }
  for (size_t t = 0; t < factors.size(); ++t) frequencies[t] /= factors[t];
  // As the models' own code has it: keys grow with the context.
  const auto context = static_cast<double>(original < 2 ? max_positions : original);
  const double growth =
      original < 2 ? scaling.factor : static_cast<double>(max_positions) / context;
  const double magnitude =
      growth > 1 && context > 1 ? std::sqrt(1 + std::log(growth) / std::log(context)) : 1;
  rope.magnitude = static_cast<float>(scaling.attention_factor.value_or(magnitude));
  return absl::OkStatus();
}

}  // namespace

bool IsLongContext(const RopeScaling& scaling, int64_t max_positions) {
  return max_positions > scaling.original_max_position_embeddings;
}

absl::StatusOr<Rope> MakeRope(int rotary_dim, double theta,
                              const std::optional<RopeScaling>& scaling, int64_t max_positions) {
  Rope rope;
  std::vector<double> frequencies(rotary_dim / 2);
  for (size_t t = 0; t < frequencies.size(); ++t) {
    frequencies[t] = std::pow(theta, -2.0 * static_cast<double>(t) / rotary_dim);
  }
  if (scaling && scaling->type != "default" && scaling->type != "none") {
    if (!(scaling->factor > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("rope_scaling.factor is ", scaling->factor, "; it must be positive"));
    }
    if (scaling->type == "linear") {
      for (double& frequency : frequencies) frequency /= scaling->factor;
    } else if (scaling->type == "llama3") {
      if (scaling->original_max_position_embeddings <= 0 ||
          scaling->high_freq_factor <= scaling->low_freq_factor) {
        return absl::InvalidArgumentError(
            "rope_scaling of type llama3 needs original_max_position_embeddings and "
            "high_freq_factor above low_freq_factor");
      }
      for (double& frequency : frequencies) frequency = Llama3(frequency, *scaling);
    } else if (scaling->type == "yarn") {
      ApplyYarn(rotary_dim, theta, *scaling, max_positions, frequencies, rope);
    } else if (scaling->type == "longrope") {
      RETURN_IF_ERROR(ApplyLongRope(*scaling, max_positions, frequencies, rope));
    } else {
      return absl::UnimplementedError(
          absl::StrCat("rope_scaling type \"", scaling->type,
                       "\" is not supported; default, linear, llama3, yarn and longrope are"));
    }
  }
  rope.inv_freq.assign(frequencies.begin(), frequencies.end());
  return rope;
}

}  // namespace transmla
