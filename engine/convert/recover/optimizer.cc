#include "engine/convert/recover/optimizer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/base/check.h"

namespace transmla {
namespace {

constexpr double kPi = 3.14159265358979323846;
// Below it a gradient is noise of rounding.
constexpr float kEpsilon = 1e-8f;
// Unit of a row that starts as zeros.
constexpr double kUnitOfZeros = 1e-3;

std::vector<float> Units(const FloatMatrix& tensor) {
  std::vector<float> units;
  for (int64_t i = 0; i < tensor.rows(); ++i) {
    double sum = 0;
    for (int64_t j = 0; j < tensor.cols(); ++j) sum += double{tensor.row(i)[j]} * tensor.row(i)[j];
    units.push_back(static_cast<float>(sum > 0 ? std::sqrt(sum / static_cast<double>(tensor.cols()))
                                               : kUnitOfZeros));
  }
  return units;
}

}  // namespace

double Schedule(const OptimizerOptions& options, int step) {
  const double warm = (step + 1) / std::max(1.0, options.warmup * options.steps);
  return std::min(1.0, warm) * (0.5 + 0.5 * std::cos(kPi * step / options.steps));
}

Optimizer::Optimizer(const OptimizerOptions& options, std::vector<FloatMatrix*> tensors)
    : options_(options) {
  for (FloatMatrix* tensor : tensors) {
    states_.push_back({.tensor = tensor,
                       .units = Units(*tensor),
                       .mean = std::vector<float>(tensor->values().size()),
                       .square = std::vector<float>(tensor->values().size())});
  }
}

void Optimizer::Step(const std::vector<FloatMatrix*>& gradients) {
  CHECK_EQ(gradients.size(), states_.size());
  const double rate = options_.learning_rate * Schedule(options_, step_);
  ++step_;
  const auto beta1 = static_cast<float>(options_.beta1);
  const auto beta2 = static_cast<float>(options_.beta2);
  // Means start at zero and are too small at first.
  const double short1 = 1 - std::pow(options_.beta1, step_);
  const auto short2 = static_cast<float>(1 - std::pow(options_.beta2, step_));
  for (size_t i = 0; i < states_.size(); ++i) {
    State& state = states_[i];
    const std::vector<float>& gradient = gradients[i]->values();
    CHECK_EQ(gradient.size(), state.mean.size());
    const auto scale = static_cast<float>(rate / short1);
    const int64_t cols = state.tensor->cols();
    for (size_t j = 0; j < gradient.size(); ++j) {
      const float unit = scale * state.units[static_cast<int64_t>(j) / cols];
      state.mean[j] = beta1 * state.mean[j] + (1 - beta1) * gradient[j];
      state.square[j] = beta2 * state.square[j] + (1 - beta2) * gradient[j] * gradient[j];
      state.tensor->values()[j] -=
          unit * state.mean[j] / (std::sqrt(state.square[j] / short2) + kEpsilon);
    }
  }
}

}  // namespace transmla
