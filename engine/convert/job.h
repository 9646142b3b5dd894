// What identifies a conversion: one that was killed is only gone on with by one of the same job.
#ifndef TRANSMLA_ENGINE_CONVERT_JOB_H_
#define TRANSMLA_ENGINE_CONVERT_JOB_H_

#include <string>

#include "engine/convert/options.h"
#include "engine/convert/text.h"
#include "engine/format/checkpoint.h"

namespace transmla {

// Text that is equal if and only if options, source and text files' tokens are: of the source its
// path, the names, types and shapes of its tensors, and the beginning of each. `text` is empty
// where the model writes it: the options hold its seed.
std::string JobOf(const ConvertOptions& options, const CheckpointReader& source,
                  const TextSplit& text);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_JOB_H_
