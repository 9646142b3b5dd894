// Routing of tokens to experts, and what brings rows to experts and back.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_EXPERTS_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_EXPERTS_H_

#include "engine/backend/cpu/context.h"
#include "engine/backend/op_args.h"

namespace transmla::cpu {

void Route(CpuContext& context, const RouteArgs& args);
void GatherRows(CpuContext& context, const GatherRowsArgs& args);
void CombineRows(CpuContext& context, const CombineRowsArgs& args);

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_EXPERTS_H_
