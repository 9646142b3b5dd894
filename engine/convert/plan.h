// What a conversion will produce: the shape of the latent attention, before anything is computed.
#ifndef TRANSMLA_ENGINE_CONVERT_PLAN_H_
#define TRANSMLA_ENGINE_CONVERT_PLAN_H_

#include "engine/convert/latent_checkpoint.h"
#include "engine/convert/options.h"
#include "engine/convert/report.h"
#include "engine/model/model_spec.h"

namespace transmla {

// The attention that the recipe makes. REQUIRES: `options` come from ResolveOptions.
MlaSpec ResolveShape(const ConvertOptions& options, const ModelSpec& source);

// The attention that is written: in format deepseek-v3 with the constants of stock_layout.h.
MlaSpec WrittenShape(const ConvertOptions& options, const ModelSpec& source);

// The biases that the recipe's weights have.
LatentBiases ResolveBiases(const ConvertOptions& options, const ModelSpec& source);

// What multiplies scores before softmax in the result.
double ResolveAttentionScale(const ConvertOptions& options, const ModelSpec& source);

// Type of the written weights.
DType ResolveDType(const ConvertOptions& options);

// A report with names, shapes and cache sizes filled in and nothing measured.
ConversionReport PlannedReport(const ConvertOptions& options, const ModelSpec& source);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_PLAN_H_
