// WeightLoader: names in a checkpoint → packed weights on a backend, with every problem reported at
// once.
#ifndef TRANSMLA_ENGINE_MODEL_WEIGHTS_H_
#define TRANSMLA_ENGINE_MODEL_WEIGHTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "engine/backend/backend.h"
#include "engine/format/checkpoint.h"
#include "engine/model/family.h"

namespace transmla {

// New row r is old row order[r]. Empty: as stored.
using RowOrder = std::vector<int64_t>;

// Neighbouring rotary pairs → half-split, for the last `rope` rows of each of `heads` heads of
// `width` rows: row r of the first half comes from 2r, of the second from 2r + 1.
RowOrder HalfSplitOrder(int heads, int width, int rope);

// Consecutive layers of a model.
struct LayerRange {
  int begin = 0;
  int end = 0;

  bool Contains(int layer) const { return layer >= begin && layer < end; }
};

// A tensor that cannot be had is noted, and a null pointer returned; Finish() reports all notes.
// Thread-compatible.
class WeightLoader {
 public:
  // `norm_offset` is added to every element of every norm's weight (Family::NormOffset). Weights
  // of layers outside of `layers` are not wanted: nobody asks for them.
  WeightLoader(std::shared_ptr<const CheckpointReader> checkpoint, Backend* backend,
               float norm_offset, LayerRange layers)
      : checkpoint_(std::move(checkpoint)),
        backend_(backend),
        norm_offset_(norm_offset),
        layers_(layers) {}

  bool Wants(int layer) const { return layers_.Contains(layer); }
  bool Has(absl::string_view name) const { return checkpoint_->Has(name); }

  // [rows, cols], kept in the checkpoint's own type; copied only where rows move.
  WeightPtr Matrix(const std::string& name, int64_t rows, int64_t cols, const RowOrder& order = {},
                   WeightRole role = WeightRole::kLinear);
  // Rows [first, first + count) of a matrix that holds several weights, one below the other; never
  // copied.
  struct Fused {
    std::string name;
    int64_t rows = 0;  // of the whole matrix
    int64_t cols = 0;
  };
  WeightPtr RowsOf(const Fused& fused, int64_t first, int64_t count);
  // Matrix `index` of a tensor of the shape `stack`, [matrices, rows, cols]; never copied.
  WeightPtr MatrixOf(const std::string& name, const Shape& stack, int64_t index);
  // Columns [first, first + count) of a [rows, cols] matrix, copied. BF16, F16 and F32 keep their
  // type, others become F32.
  struct Columns {
    int64_t first = 0;
    int64_t count = 0;
  };
  WeightPtr ColumnsOf(const std::string& name, const Shape& shape, const Columns& columns,
                      const RowOrder& order = {});
  // Weight of a norm, [n] as F32.
  WeightPtr Norm(const std::string& name, int64_t n);
  // [n] as F32.
  WeightPtr Vector(const std::string& name, int64_t n, const RowOrder& order = {});
  // Values that no file holds.
  WeightPtr Vector(const std::vector<float>& values, absl::string_view what);
  // Rows [first, first + count) of each of `heads` equal groups of a [heads · group, cols] matrix,
  // in `order`, as [heads, count, cols]; transposed as [heads, cols, count] on request. BF16, F16
  // and F32 keep their type, others become F32.
  struct HeadRows {
    int heads = 0;
    int group = 0;
    int first = 0;
    int count = 0;
    bool transposed = false;
  };
  WeightPtr PerHead(const std::string& name, const HeadRows& rows, int64_t cols,
                    const RowOrder& order = {});
  // A tensor that holds a matrix for each head, [heads, rows, cols]; transposed as [heads, cols,
  // rows] on request. Types as with rows of heads.
  WeightPtr PerHead(const std::string& name, const Shape& stack, bool transposed = false);

  // A tensor that may be there and is not used.
  void Ignore(const std::string& name) { used_.insert(name); }

  // Bytes packed so far, each weight once.
  int64_t bytes() const { return bytes_; }

  // InvalidArgument listing what is missing, misshapen or unexpected; `names` says which extra
  // tensors are known.
  absl::Status Finish(const TensorNames& names, int num_layers);
  // The same of what is missing or misshapen, where only a part of the model was asked for.
  absl::Status FinishPart();

 private:
  // The tensor if it is there with that shape; otherwise notes the problem.
  const TensorView* Find(const std::string& name, const Shape& shape);
  // Once, if the same problem is noted again at once.
  void Note(std::string problem);
  bool IsIgnored(const TensorNames& names, int num_layers, absl::string_view tensor) const;
  WeightPtr Pack(const std::string& name, const WeightSource& source);
  // A copy of those rows of `view`, as the first PerHead says.
  WeightPtr PackHeads(const std::string& name, const TensorView& view, const HeadRows& rows,
                      const RowOrder& order);

  std::shared_ptr<const CheckpointReader> checkpoint_;
  Backend* backend_;
  const float norm_offset_;
  const LayerRange layers_;
  TensorView found_;
  absl::flat_hash_set<std::string> used_;
  std::vector<std::string> problems_;
  absl::Status failure_;
  int64_t bytes_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_WEIGHTS_H_
