// Adam (Kingma and Ba, arXiv 1412.6980) with a warm-up and a cosine that ends at zero, and steps in
// units of each row's own size: rows of one matrix may be of very different scales (rope keys and
// latents, queries of either), and a step that suits one would overturn another.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_OPTIMIZER_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_OPTIMIZER_H_

#include <vector>

#include "engine/linalg/float_product.h"

namespace transmla {

struct OptimizerOptions {
  int steps = 0;             // in all
  double learning_rate = 0;  // at its peak; times the root mean square of a row's first values
  double beta1 = 0.9;
  double beta2 = 0.95;
  double warmup = 0.1;  // share of the steps
};

// What learning_rate is multiplied by at `step`, 0 … steps − 1: above 0, at most 1.
double Schedule(const OptimizerOptions& options, int step);

// Of one list of tensors, whose shapes and addresses stay.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, std::vector<FloatMatrix*> tensors);
  // `gradients` as the tensors. REQUIRES: called at most `steps` times.
  void Step(const std::vector<FloatMatrix*>& gradients);

 private:
  struct State {
    FloatMatrix* tensor;
    std::vector<float> units;  // of a step, a row
    std::vector<float> mean, square;
  };
  OptimizerOptions options_;
  std::vector<State> states_;
  int step_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_OPTIMIZER_H_
