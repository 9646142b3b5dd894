#include "engine/convert/shared_frequencies.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;

constexpr int kPairs = 5, kHeads = 3;

// Components of random costs, falling as DecomposeKeys has them, and of a random scale.
std::vector<KeyComponent> RandomLayer(Random& random) {
  std::vector<KeyComponent> components;
  const double scale = std::exp(3 * random.Normal());
  for (int pair = 0; pair < kPairs; ++pair) {
    for (int head = 0; head < kHeads; ++head) {
      KeyComponent& component = components.emplace_back();
      component.pair = pair;
      component.rope_cost = scale * random.Uniform();
    }
  }
  std::stable_sort(
      components.begin(), components.end(),
      [](const KeyComponent& a, const KeyComponent& b) { return a.rope_cost > b.rope_cost; });
  return components;
}

// As a share of the layer's whole.
double KeptCost(std::vector<KeyComponent> components, const std::vector<int>& pairs) {
  PutPairsFirst(pairs, components);
  double kept = 0, whole = 0;
  for (size_t i = 0; i < components.size(); ++i) {
    whole += components[i].rope_cost;
    if (i < pairs.size()) kept += components[i].rope_cost;
  }
  return kept / whole;
}

// Every other choice of as many pairs keeps no more.
TEST(SharedFrequenciesTest, ChoosesTheBestSetForAllLayers) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    Random random(seed);
    std::vector<std::vector<KeyComponent>> layers;
    for (int layer = 0; layer < 4; ++layer) layers.push_back(RandomLayer(random));
    const auto kept = [&](const std::vector<int>& pairs) {
      double cost = 0;
      for (const std::vector<KeyComponent>& layer : layers) cost += KeptCost(layer, pairs);
      return cost;
    };
    for (const int slots : {1, 4, 7, 15}) {
      const std::vector<int> chosen = ChooseSharedPairs(layers, slots);
      ASSERT_EQ(chosen.size(), slots);
      EXPECT_TRUE(std::is_sorted(chosen.begin(), chosen.end()));
      double best = 0;
      // How often each pair occurs, as the digits of a number to the base of kHeads + 1.
      for (int code = 0; code < 1024; ++code) {
        std::vector<int> pairs;
        for (int pair = 0, rest = code; pair < kPairs; ++pair, rest /= kHeads + 1)
          pairs.insert(pairs.end(), rest % (kHeads + 1), pair);
        if (static_cast<int>(pairs.size()) == slots) best = std::max(best, kept(pairs));
      }
      EXPECT_NEAR(kept(chosen), best, 1e-12) << "seed " << seed << ", " << slots << " slots";
    }
  }
}

TEST(SharedFrequenciesTest, OneLayerKeepsItsCostliest) {
  Random random(8);
  const std::vector<KeyComponent> layer = RandomLayer(random);
  double costliest = 0, whole = 0;
  for (int i = 0; i < kPairs * kHeads; ++i) {
    whole += layer[i].rope_cost;
    if (i < 6) costliest += layer[i].rope_cost;
  }
  EXPECT_NEAR(KeptCost(layer, ChooseSharedPairs({layer}, 6)), costliest / whole, 1e-12);
}

TEST(SharedFrequenciesTest, PairsComeFirstAndTheRestStaysInOrder) {
  std::vector<KeyComponent> components(5);
  for (int i = 0; i < 5; ++i) components[i].rope_cost = 9 - i;
  const int pairs[] = {2, 0, 2, 1, 2};
  for (int i = 0; i < 5; ++i) components[i].pair = pairs[i];
  PutPairsFirst(std::vector<int>{1, 2, 2}, components);
  std::vector<double> costs;
  for (const KeyComponent& component : components) costs.push_back(component.rope_cost);
  EXPECT_THAT(costs, ElementsAre(6, 9, 7, 8, 5));
}

}  // namespace
}  // namespace transmla
