#include "engine/inspect.h"

#include <memory>

#include "engine/base/status.h"
#include "engine/format/checkpoint.h"
#include "engine/model/decoder.h"

namespace transmla {

absl::StatusOr<ModelInspection> InspectModel(const std::string& path) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> checkpoint, OpenCheckpoint(path));
  ModelInspection inspection{.path = path};
  ASSIGN_OR_RETURN(inspection.spec, ReadModelSpec(*checkpoint));
  for (const TensorInfo& tensor : checkpoint->tensors()) {
    const int64_t bytes = tensor.shape.rows() * RowBytes(tensor.dtype, tensor.shape.cols());
    ++inspection.tensors;
    inspection.weight_bytes += bytes;
    inspection.bytes_by_dtype[std::string(DTypeName(tensor.dtype))] += bytes;
  }
  return inspection;
}

}  // namespace transmla
