// SOAP (Vyas et al., arXiv 2409.11321): Adam (Kingma and Ba, arXiv 1412.6980) in the eigenbases of
// the gradients' second moments, with a warm-up and a cosine that ends at zero. What Adam assumes
// of single weights, that each has a scale of its own and nothing to do with the others, holds far
// better in those bases than of columns that all see the same few directions of the hidden state.
//
// Before all that, each row is measured in units of its own size: rows of one matrix may be of very
// different scales (rope keys and latents, queries of either), and a step that suits one would
// overturn another.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_OPTIMIZER_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_OPTIMIZER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "engine/base/thread_pool.h"
#include "engine/convert/recover/eigenbasis.h"
#include "engine/convert/work_folder.h"
#include "engine/convert/work_record.h"
#include "engine/linalg/float_product.h"

namespace transmla {

struct OptimizerOptions {
  int steps = 0;             // in all
  double learning_rate = 0;  // at its peak; times the root mean square of a row's first values
  double beta1 = 0.9;        // of the mean of gradients
  double beta2 = 0.95;       // of their squares, in the bases, and of the moments that give these
  double warmup = 0.1;       // share of the steps
};

// What learning_rate is multiplied by at `step`, 0 … steps − 1: above 0, at most 1.
double Schedule(const OptimizerOptions& options, int step);

// What is trained, and the blocks of its rows and columns (Eigenbasis).
struct TrainedMatrix {
  FloatMatrix* values = nullptr;
  std::vector<int64_t> row_blocks, col_blocks;
};

// Of one list of matrices, whose shapes and addresses stay.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, const std::vector<TrainedMatrix>& matrices);
  // `gradients` as the matrices. The result does not depend on the number of threads. Errors as
  // Eigenbasis's. REQUIRES: called at most `steps` times.
  absl::Status Step(const std::vector<const FloatMatrix*>& gradients, ThreadPool& pool);

  // The matrices and all that later steps depend on; an optimizer that was made of the same
  // options and first values goes on from there. Appends to `file` one matrix at a time.
  absl::Status Save(RecordFile& file) const;
  // Fails `record` if it is of other matrices, some of which are overwritten then.
  void Load(RecordReader& record);

 private:
  struct State {
    FloatMatrix* matrix;
    std::vector<float> units;  // of a step, a row
    Eigenbasis row_basis, col_basis;
    FloatMatrix mean, square;  // in the bases
  };
  absl::Status Step(State& state, const FloatMatrix& gradient) const;

  OptimizerOptions options_;
  std::vector<State> states_;
  int step_ = 0;          // the next
  int next_refresh_ = 0;  // of the bases
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_OPTIMIZER_H_
