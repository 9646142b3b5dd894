#include "engine/convert/fitted_layer.h"

#include "engine/base/check.h"
#include "engine/base/status.h"
#include "engine/convert/work_record.h"

namespace transmla {

std::string SaveFittedLayer(const FittedLayer& layer) {
  const LatentWeights& weights = layer.weights;
  CHECK(weights.q_a_norm.empty() && weights.kv_a_norm.empty());
  RecordWriter record;
  record.Put(int64_t{weights.behind_norms});
  for (const Matrix* matrix : {&weights.q_a, &weights.q, &weights.kv_a, &weights.kv_b, &weights.o})
    record.PutRounded(*matrix);
  for (const std::vector<double>* values :
       {&weights.q_a_bias, &weights.q_bias, &weights.kv_a_bias, &weights.o_bias})
    record.Put(*values);
  record.Put(weights.inv_freq);
  const LayerReport& report = layer.report;
  record.Put(int64_t{report.layer});
  record.Put(
      std::vector<double>{report.rope_key_energy_kept, report.key_error, report.value_error});
  record.Put(report.cost_left);
  return record.Take();
}

absl::StatusOr<FittedLayer> ParseFittedLayer(absl::string_view record) {
  RecordReader reader(record);
  FittedLayer layer;
  LatentWeights& weights = layer.weights;
  weights.behind_norms = reader.Number() != 0;
  for (Matrix* matrix : {&weights.q_a, &weights.q, &weights.kv_a, &weights.kv_b, &weights.o})
    *matrix = reader.ReadRounded();
  for (std::vector<double>* values :
       {&weights.q_a_bias, &weights.q_bias, &weights.kv_a_bias, &weights.o_bias})
    *values = reader.Values<double>();
  weights.inv_freq = reader.Values<float>();
  layer.report.layer = static_cast<int>(reader.Number());
  const std::vector<double> errors = reader.Values<double>();
  layer.report.cost_left = reader.Values<double>();
  RETURN_IF_ERROR(reader.Finish());
  if (errors.size() != 3) return absl::DataLossError("a record of a layer is not whole");
  layer.report.rope_key_energy_kept = errors[0];
  layer.report.key_error = errors[1];
  layer.report.value_error = errors[2];
  return layer;
}

}  // namespace transmla
