#include "engine/convert/recover/gated_block.h"

#include "engine/base/status.h"
#include "engine/convert/recover/row_math.h"

namespace transmla {
namespace {

constexpr Transpose kNo = Transpose::kNo;
constexpr Transpose kYes = Transpose::kYes;

// Activations f: f(gate) · up, and from the gradient `hidden` of that the gradients of both.
struct Silu {
  static float Forward(float gate, float up) { return gate * FastSigmoid(gate) * up; }
  static void Backward(float gate, float up, float hidden, float& to_gate, float& to_up) {
    const float sigmoid = FastSigmoid(gate);
    to_gate = hidden * up * sigmoid * (1 + gate * (1 - sigmoid));
    to_up = hidden * gate * sigmoid;
  }
};

// f(x) = x · (1 + tanh(y)) / 2 = x · sigmoid(2·y), y = √(2/π) · (x + 0.044715 · x³).
struct GeluTanh {
  static constexpr float kTwiceRoot = 2 * 0.7978845608028654f, kCubic = 0.044715f;
  static float Sigmoid(float x) { return FastSigmoid(kTwiceRoot * (x + kCubic * x * x * x)); }
  static float Forward(float gate, float up) { return gate * Sigmoid(gate) * up; }
  static void Backward(float gate, float up, float hidden, float& to_gate, float& to_up) {
    const float sigmoid = Sigmoid(gate);
    const float inner = kTwiceRoot * (1 + 3 * kCubic * gate * gate);  // slope of 2·y
    to_gate = hidden * up * sigmoid * (1 + gate * (1 - sigmoid) * inner);
    to_up = hidden * gate * sigmoid;
  }
};

template <typename F>
FloatMatrix ActivateRows(const FloatMatrix& gates, const FloatMatrix& ups) {
  FloatMatrix hidden(gates.rows(), gates.cols());
  for (int64_t row = 0; row < hidden.rows(); ++row) {
    const float* const gate = gates.row(row);
    const float* const up = ups.row(row);
    float* const out = hidden.row(row);
    for (int64_t i = 0; i < hidden.cols(); ++i) out[i] = F::Forward(gate[i], up[i]);
  }
  return hidden;
}

// `up` comes in as the gradient of the activation's result.
template <typename F>
void ActivateRowsBackward(const GatedTape& tape, FloatMatrix& gate, FloatMatrix& up) {
  for (int64_t row = 0; row < up.rows(); ++row) {
    const float* const gates = tape.gate.row(row);
    const float* const ups = tape.up.row(row);
    float* const to_gate = gate.row(row);
    float* const to_up = up.row(row);
    for (int64_t i = 0; i < up.cols(); ++i)
      F::Backward(gates[i], ups[i], to_up[i], to_gate[i], to_up[i]);
  }
}

}  // namespace

absl::StatusOr<FloatMatrix> GatedForward(const FrozenModel& model, const GatedNames& names,
                                         const FloatMatrix& in, GatedTape* tape) {
  ASSIGN_OR_RETURN(tape->gate, model.Multiply(in, names.gate, kYes));
  ASSIGN_OR_RETURN(tape->up, model.Multiply(in, names.up, kYes));
  const bool silu = model.spec().activation == Activation::kSilu;
  return model.Multiply((silu ? ActivateRows<Silu> : ActivateRows<GeluTanh>)(tape->gate, tape->up),
                        names.down, kYes);
}

absl::StatusOr<FloatMatrix> GatedBackward(const FrozenModel& model, const GatedNames& names,
                                          const GatedTape& tape, const FloatMatrix& out_gradient) {
  ASSIGN_OR_RETURN(FloatMatrix up, model.Multiply(out_gradient, names.down, kNo));
  FloatMatrix gate(up.rows(), up.cols());
  const bool silu = model.spec().activation == Activation::kSilu;
  (silu ? ActivateRowsBackward<Silu> : ActivateRowsBackward<GeluTanh>)(tape, gate, up);
  ASSIGN_OR_RETURN(FloatMatrix result, model.Multiply(gate, names.gate, kNo));
  ASSIGN_OR_RETURN(const DecodedRows up_weight, model.Whole(names.up));
  MultiplyFloats(up.view(), kNo, up_weight.view, kNo, /*accumulate=*/true, result.view());
  return result;
}

}  // namespace transmla
