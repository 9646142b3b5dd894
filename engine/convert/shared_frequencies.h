// One set of frequencies for the rope keys of all layers, for readers that know no other.
#ifndef TRANSMLA_ENGINE_CONVERT_SHARED_FREQUENCIES_H_
#define TRANSMLA_ENGINE_CONVERT_SHARED_FREQUENCIES_H_

#include <vector>

#include "absl/types/span.h"

#include "engine/convert/key_components.h"

namespace transmla {

// The rotary pairs of the `slots` components that keep RoPE in every layer, ascending; a pair may
// occur as often as it has components. Costs count as shares of their layer's whole: layers differ
// in scale, and an error in one that moves little is as bad. Of all choices this one leaves out the
// least, summed over layers: a layer then keeps its costliest components of each pair, whose sums
// over layers fall as a pair is chosen again, so the largest sums are the best. `layers` are
// DecomposeKeys's results, of one model. REQUIRES: 0 <= slots <= components a layer.
std::vector<int> ChooseSharedPairs(absl::Span<const std::vector<KeyComponent>> layers, int slots);

// Puts the costliest components of `pairs` first, in the order of `pairs`; the others follow by
// falling cost. REQUIRES: `components` fall by rope_cost, and have those of `pairs`.
void PutPairsFirst(absl::Span<const int> pairs, std::vector<KeyComponent>& components);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_SHARED_FREQUENCIES_H_
