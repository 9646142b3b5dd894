// Limits of what a chat template may do. A template comes with a model file, so it is a stranger's
// program: beyond a limit, parsing or rendering ends with InvalidArgument that names it.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LIMITS_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LIMITS_H_

#include <cstdint>

namespace transmla::jinja {

// Published templates have 300 bytes to 30 KB. A syntax tree takes about a hundred times its text.
inline constexpr int64_t kMaxTemplateBytes = 256 << 10;
// Levels of the syntax tree, expressions and blocks together; published templates reach some 30.
// Bounds the stack of the parser and of the tree's destructor.
inline constexpr int kMaxTemplateDepth = 128;
// Levels alive while rendering: those of the tree, again for each macro call in progress. The
// deepest templates take less than half a MiB of stack (2 MiB under AddressSanitizer).
inline constexpr int kMaxRenderDepth = 256;
// Lists in lists, objects in objects; schemas of tools reach some 10.
inline constexpr int kMaxValueDepth = 64;
// Expressions and statements evaluated, items and 64-byte pieces of text looked at: about a second.
// A message costs 20 to 100.
inline constexpr int64_t kMaxRenderSteps = 10'000'000;
// One text, and the output: what Tokenizer::Encode accepts.
inline constexpr int64_t kMaxTemplateTextBytes = int64_t{16} << 20;
// Everything made while rendering, freed or not: room to copy the largest text sixteen times.
inline constexpr int64_t kMaxRenderBytes = int64_t{256} << 20;
// range(); the limit of Jinja's own sandbox.
inline constexpr int64_t kMaxRangeItems = 100'000;

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_LIMITS_H_
