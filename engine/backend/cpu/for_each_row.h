// Shares the rows of a matrix out among the workers.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_FOR_EACH_ROW_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_FOR_EACH_ROW_H_

#include <algorithm>
#include <cstdint>

#include "engine/backend/cpu/context.h"
#include "engine/base/checked_math.h"

namespace transmla::cpu {

// Floats of a task: some microseconds of work.
inline constexpr int64_t kTaskFloats = 8192;

// Calls fn(row) for rows [0, rows) of `cols` floats, in parallel.
template <typename Fn>
void ForEachRow(CpuContext& context, int64_t rows, int64_t cols, Fn&& fn) {
  const int64_t task_rows = std::max<int64_t>(1, kTaskFloats / std::max<int64_t>(1, cols));
  context.pool->ParallelFor(CeilDiv(rows, task_rows), [&](int64_t task, int) {
    const int64_t end = std::min(rows, (task + 1) * task_rows);
    for (int64_t row = task * task_rows; row < end; ++row) fn(row);
  });
}

}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_FOR_EACH_ROW_H_
