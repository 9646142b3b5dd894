// LayerStatistics: what calibration keeps of a model that runs one layer after the other: of
// attention, as of the last layer nothing else runs.
#ifndef TRANSMLA_ENGINE_CONVERT_LAYER_STATISTICS_H_
#define TRANSMLA_ENGINE_CONVERT_LAYER_STATISTICS_H_

#include <string>

#include "engine/model/decoder.h"

namespace transmla {

class LayerStatistics : public DecoderObserver {
 public:
  // Ends what was gathered of a layer, as the bytes of a record (work_record.h).
  virtual std::string Take(int layer) = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_LAYER_STATISTICS_H_
