// Where expanding latents starts to pay.
#ifndef TRANSMLA_ENGINE_MODEL_MLA_CROSSOVER_H_
#define TRANSMLA_ENGINE_MODEL_MLA_CROSSOVER_H_

#include "engine/model/model_spec.h"

namespace transmla {

// From how many new tokens of a sequence in one step on expanded attention takes less time than
// absorbed, infinity if never. For each position of context, absorbed attention costs a token 2·R +
// Dr products a head, expanded attention Dn + Dr + Dv, and the expansion R·(Dn + Dv) once: they
// meet at R·(Dn + Dv) / (2·R - Dn - Dv) tokens. Expansion also writes what it makes, which moves
// the measured crossover up (docs/benchmarks.md, "Absorbed or expanded"). A matter of shapes alone,
// so that a model's texts do not depend on how a measurement came out.
double MlaCrossover(const MlaSpec& spec);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_MODEL_MLA_CROSSOVER_H_
