// The unit of the paged cache, shared by those who count pages (engine/cache) and those who fill
// them (engine/backend).
#ifndef TRANSMLA_ENGINE_BASE_PAGE_H_
#define TRANSMLA_ENGINE_BASE_PAGE_H_

#include <cstdint>

namespace transmla {

// A page holds this many consecutive token positions of one sequence: a whole number of tiles for
// every kernel planned (16, 32 and 64 tokens), and small enough that a short sequence wastes
// little.
inline constexpr int kPageTokens = 64;

// Index of a page in its store, from 0.
using PageId = int32_t;

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BASE_PAGE_H_
