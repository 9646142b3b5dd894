// Seeded, counter-based random numbers: the same seed and stream give the same draws on every
// machine, whatever else runs.
//
// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014).
#ifndef TRANSMLA_ENGINE_BASE_RANDOM_H_
#define TRANSMLA_ENGINE_BASE_RANDOM_H_

#include <cmath>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace transmla {

// Copyable value; thread-compatible. Satisfies UniformRandomBitGenerator.
class Random {
 public:
  using result_type = uint64_t;
  explicit Random(uint64_t seed) : state_(seed) {}

  static constexpr uint64_t min() { return 0; }
  static constexpr uint64_t max() { return ~uint64_t{0}; }

  uint64_t operator()() { return Mix(state_ += 0x9E3779B97F4A7C15u); }

  // Uniform in [0, 1), 53 bits.
  double Uniform() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }

  // Uniform in [0, bound). REQUIRES: bound > 0. Lemire's multiply-shift; the bias is below bound /
  // 2^64.
  uint64_t Below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>((*this)()) * bound) >> 64);
  }

  // Standard normal (Box-Muller, one of the pair).
  double Normal() {
    const double u = 1.0 - Uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * Uniform());
  }

  // An independent generator for a named purpose: draws of one never shift those of another.
  Random Split(absl::string_view name) const {
    uint64_t hash = state_;
    for (const char c : name)
      hash = Mix(hash ^ (static_cast<unsigned char>(c) + 0x9E3779B97F4A7C15u));
    return Random(hash);
  }
  // As above, for a numbered purpose (a position in a sequence, a layer).
  Random Split(uint64_t index) const {
    return Random(Mix(state_ ^ Mix(index + 0x632BE59BD9B4E019u)));
  }

 private:
  static constexpr uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_RANDOM_H_
