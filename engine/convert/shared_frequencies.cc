#include "engine/convert/shared_frequencies.h"

#include <algorithm>
#include <map>
#include <utility>

#include "engine/base/check.h"

namespace transmla {

std::vector<int> ChooseSharedPairs(absl::Span<const std::vector<KeyComponent>> layers, int slots) {
  // By pair and place among the pair's components, in shares of each layer's whole.
  std::map<std::pair<int, int>, double> costs;
  for (const std::vector<KeyComponent>& components : layers) {
    double whole = 0;
    for (const KeyComponent& component : components) whole += component.rope_cost;
    std::map<int, int> places;
    for (const KeyComponent& component : components)
      costs[{component.pair, places[component.pair]++}] +=
          whole > 0 ? component.rope_cost / whole : 0;
  }
  CHECK_LE(slots, static_cast<int>(costs.size()));
  std::vector<std::pair<double, int>> ranked;
  ranked.reserve(costs.size());
  for (const auto& [key, cost] : costs) ranked.emplace_back(cost, key.first);
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<int> pairs;
  for (int i = 0; i < slots; ++i) pairs.push_back(ranked[i].second);
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

void PutPairsFirst(absl::Span<const int> pairs, std::vector<KeyComponent>& components) {
  std::vector<KeyComponent> ordered;
  ordered.reserve(components.size());
  std::vector<bool> taken(components.size());
  for (const int pair : pairs) {
    size_t i = 0;
    while (i < components.size() && (taken[i] || components[i].pair != pair)) ++i;
    CHECK_LT(i, components.size());
    taken[i] = true;
    ordered.push_back(std::move(components[i]));
  }
  for (size_t i = 0; i < components.size(); ++i)
    if (!taken[i]) ordered.push_back(std::move(components[i]));
  components = std::move(ordered);
}

}  // namespace transmla
