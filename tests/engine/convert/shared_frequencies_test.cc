#include "engine/convert/shared_frequencies.h"

#include <algorithm>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "engine/base/random.h"

namespace transmla {
namespace {

using ::testing::ElementsAre;

constexpr int kPairs = 5, kHeads = 3;

// Components of random costs, falling as DecomposeKeys has them.
std::vector<KeyComponent> RandomLayer(Random& random) {
  std::vector<KeyComponent> components;
  for (int pair = 0; pair < kPairs; ++pair) {
    for (int head = 0; head < kHeads; ++head) {
      KeyComponent& component = components.emplace_back();
      component.pair = pair;
      component.rope_cost = random.Uniform();
    }
  }
  std::stable_sort(
      components.begin(), components.end(),
      [](const KeyComponent& a, const KeyComponent& b) { return a.rope_cost > b.rope_cost; });
  return components;
}

double KeptCost(std::vector<KeyComponent> components, const std::vector<int>& pairs) {
  PutPairsFirst(pairs, components);
  double cost = 0;
  for (size_t i = 0; i < pairs.size(); ++i) cost += components[i].rope_cost;
  return cost;
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
      EXPECT_DOUBLE_EQ(kept(chosen), best) << "seed " << seed << ", " << slots << " slots";
    }
  }
}

TEST(SharedFrequenciesTest, OneLayerKeepsItsCostliest) {
  Random random(8);
  const std::vector<KeyComponent> layer = RandomLayer(random);
  double costliest = 0;
  for (int i = 0; i < 6; ++i) costliest += layer[i].rope_cost;
  EXPECT_DOUBLE_EQ(KeptCost(layer, ChooseSharedPairs({layer}, 6)), costliest);
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
