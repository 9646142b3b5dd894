#include "engine/convert/recover/optimizer.h"

#include <algorithm>
#include <cmath>

#include "engine/base/check.h"
#include "engine/base/status.h"

namespace transmla {
namespace {

constexpr double kPi = 3.14159265358979323846;
// Below it a gradient, in units of rows, is noise of rounding.
constexpr float kEpsilon = 1e-12f;
// Unit of a row that starts as zeros.
constexpr double kUnitOfZeros = 1e-3;

std::vector<float> Units(const FloatMatrix& matrix) {
  std::vector<float> units;
  for (int64_t i = 0; i < matrix.rows(); ++i) {
    double sum = 0;
    for (int64_t j = 0; j < matrix.cols(); ++j) sum += double{matrix.row(i)[j]} * matrix.row(i)[j];
    units.push_back(static_cast<float>(sum > 0 ? std::sqrt(sum / static_cast<double>(matrix.cols()))
                                               : kUnitOfZeros));
  }
  return units;
}

}  // namespace

double Schedule(const OptimizerOptions& options, int step) {
  const double warm = (step + 1) / std::max(1.0, options.warmup * options.steps);
  return std::min(1.0, warm) * (0.5 + 0.5 * std::cos(kPi * step / options.steps));
}

Optimizer::Optimizer(const OptimizerOptions& options, const std::vector<TrainedMatrix>& matrices)
    : options_(options) {
  for (const TrainedMatrix& trained : matrices) {
    const FloatMatrix zeros(trained.values->rows(), trained.values->cols());
    states_.push_back({.matrix = trained.values,
                       .units = Units(*trained.values),
                       .row_basis = Eigenbasis(MatrixSide::kRows, trained.row_blocks),
                       .col_basis = Eigenbasis(MatrixSide::kColumns, trained.col_blocks),
                       .mean = zeros,
                       .square = zeros});
  }
}

absl::Status Optimizer::Step(const std::vector<const FloatMatrix*>& gradients, ThreadPool& pool) {
  CHECK_EQ(gradients.size(), states_.size());
  CHECK_LT(step_, options_.steps);
  std::vector<absl::Status> statuses(states_.size());
  pool.ParallelFor(static_cast<int64_t>(states_.size()),
                   [&](int64_t i, int) { statuses[i] = Step(states_[i], *gradients[i]); });
  // The bases settle as moments gather: rarer and rarer, for decomposing costs as much as a step.
  if (step_ == next_refresh_) next_refresh_ = 2 * step_ + 2;
  ++step_;
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

absl::Status Optimizer::Save(RecordFile& file) const {
  RecordWriter numbers;
  numbers.Put(int64_t{step_});
  numbers.Put(int64_t{next_refresh_});
  RETURN_IF_ERROR(file.Append(numbers.Take()));
  for (const State& state : states_) {
    RecordWriter record;
    record.Put(*state.matrix);
    record.Put(state.mean);
    record.Put(state.square);
    state.row_basis.Save(record);
    state.col_basis.Save(record);
    RETURN_IF_ERROR(file.Append(record.Take()));
  }
  return absl::OkStatus();
}

void Optimizer::Load(RecordReader& record) {
  step_ = static_cast<int>(record.Number());
  next_refresh_ = static_cast<int>(record.Number());
  for (State& state : states_) {
    record.ReadTo(*state.matrix);
    record.ReadTo(state.mean);
    record.ReadTo(state.square);
    state.row_basis.Load(record);
    state.col_basis.Load(record);
  }
}

absl::Status Optimizer::Step(State& state, const FloatMatrix& gradient) const {
  FloatMatrix turned = gradient;
  for (int64_t i = 0; i < turned.rows(); ++i)
    for (int64_t j = 0; j < turned.cols(); ++j) turned.row(i)[j] *= state.units[i];
  const auto beta1 = static_cast<float>(options_.beta1);
  const auto beta2 = static_cast<float>(options_.beta2);
  state.row_basis.Observe(turned, beta2);
  state.col_basis.Observe(turned, beta2);
  if (step_ == next_refresh_) {
    state.row_basis.Leave(state.mean);
    state.col_basis.Leave(state.mean);
    RETURN_IF_ERROR(state.row_basis.Refresh());
    RETURN_IF_ERROR(state.col_basis.Refresh());
    state.row_basis.Enter(state.mean);
    state.col_basis.Enter(state.mean);
  }
  state.row_basis.Enter(turned);
  state.col_basis.Enter(turned);
  // Means start at zero and are too small at first.
  const auto short1 = static_cast<float>(1 - std::pow(options_.beta1, step_ + 1));
  const auto short2 = static_cast<float>(1 - std::pow(options_.beta2, step_ + 1));
  for (int64_t i = 0; i < turned.rows(); ++i) {
    float* const g = turned.row(i);
    float* const mean = state.mean.row(i);
    float* const square = state.square.row(i);
    for (int64_t j = 0; j < turned.cols(); ++j) {
      mean[j] = beta1 * mean[j] + (1 - beta1) * g[j];
      square[j] = beta2 * square[j] + (1 - beta2) * g[j] * g[j];
      g[j] = mean[j] / short1 / (std::sqrt(square[j] / short2) + kEpsilon);
    }
  }
  state.row_basis.Leave(turned);
  state.col_basis.Leave(turned);
  const double rate = options_.learning_rate * Schedule(options_, step_);
  for (int64_t i = 0; i < turned.rows(); ++i) {
    const auto step = static_cast<float>(rate * state.units[i]);
    for (int64_t j = 0; j < turned.cols(); ++j) state.matrix->row(i)[j] -= step * turned.row(i)[j];
  }
  return absl::OkStatus();
}

}  // namespace transmla
