#include "engine/convert/layer_pass.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/convert/work_record.h"

namespace transmla {

absl::StatusOr<int> LayerPass::Observe(LayerStatistics& statistics) {
  const int finished = FinishedLayers(work_, name_, num_layers(), {&streams_});
  if (finished == 0) RETURN_IF_ERROR(streams_.Embed());
  for (int layer = finished; layer < num_layers(); ++layer) {
    uint32_t checksum = 0;  // of the streams that the next layer reads
    if (layer + 1 < num_layers()) {
      ASSIGN_OR_RETURN(checksum, streams_.Run(layer, &statistics, ProgressOf(layer)));
    } else {
      RETURN_IF_ERROR(streams_.Attend(layer, statistics, ProgressOf(layer)));
    }
    RecordWriter record;
    record.Put(int64_t{checksum});
    RETURN_IF_ERROR(work_.Write(LayerRecordName(name_, layer),
                                absl::StrCat(record.Take(), statistics.Take(layer))));
    RETURN_IF_ERROR(streams_.Remove(layer));
  }
  return finished;
}

absl::StatusOr<std::string> LayerPass::Record(int layer) const {
  ASSIGN_OR_RETURN(std::string record, work_.Read(LayerRecordName(name_, layer)));
  record.erase(0, sizeof(int64_t));  // the checksum
  return record;
}

absl::StatusOr<std::shared_ptr<const MappedFile>> LayerPass::Run() {
  RETURN_IF_ERROR(streams_.Embed());
  for (int layer = 0; layer < num_layers(); ++layer) {
    RETURN_IF_ERROR(streams_.Run(layer, nullptr, ProgressOf(layer)).status());
    RETURN_IF_ERROR(streams_.Remove(layer));
  }
  return streams_.Before(num_layers());
}

}  // namespace transmla
