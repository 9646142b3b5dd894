// The basis in which one side of a matrix is trained: eigenvectors of the gradients' second moment,
// as Shampoo (Gupta et al., arXiv 1802.09568) and SOAP (Vyas et al., arXiv 2409.11321) use it.
// Block by block: what a head's rows have to do with another's is not followed.
#ifndef TRANSMLA_ENGINE_CONVERT_RECOVER_EIGENBASIS_H_
#define TRANSMLA_ENGINE_CONVERT_RECOVER_EIGENBASIS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

#include "engine/convert/work_record.h"
#include "engine/linalg/float_product.h"

namespace transmla {

enum class MatrixSide { kRows, kColumns };

// Thread-compatible. Memory: twice the squares of the blocks' sizes.
class Eigenbasis {
 public:
  // Sizes of the blocks into which the side is cut, in order; none: the basis is that of the
  // matrix. Blocks are cut further until none is above `largest_block`, at which decomposition
  // takes about a second.
  Eigenbasis(MatrixSide side, const std::vector<int64_t>& blocks, int64_t largest_block = 1024);

  // Moment = decay · moment + (1 − decay) · gradient · gradientᵀ (kRows), or gradientᵀ · gradient.
  void Observe(const FloatMatrix& gradient, float decay);
  // Takes the moment's eigenvectors for the basis; before the first time it is the matrix's own.
  // DataLoss if the moment is not finite.
  absl::Status Refresh();

  // The matrix in this basis, and back.
  void Enter(FloatMatrix& matrix) const { Turn(matrix, Transpose::kYes); }
  void Leave(FloatMatrix& matrix) const { Turn(matrix, Transpose::kNo); }

  // What it has gathered, for one of the same blocks to go on from.
  void Save(RecordWriter& record) const;
  void Load(RecordReader& record);

 private:
  struct Block {
    int64_t begin = 0, size = 0;
    FloatMatrix moment, vectors;  // [size, size]; vectors are columns, none before a refresh
  };
  // Blocks times a side, or their transposes.
  void Turn(FloatMatrix& matrix, Transpose transpose) const;

  MatrixSide side_;
  std::vector<Block> blocks_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_RECOVER_EIGENBASIS_H_
