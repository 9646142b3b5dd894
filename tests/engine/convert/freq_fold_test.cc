#include "engine/convert/freq_fold.h"

#include <map>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

struct Search {
  absl::StatusOr<FreqFoldChoice> choice;
  std::vector<int> asked;
};

Search RunSearch(int collapse, int pairs, const std::map<int, double>& perplexities) {
  Search search;
  search.choice = ChooseFreqFold(collapse, pairs, [&](int freqfold) -> absl::StatusOr<double> {
    search.asked.push_back(freqfold);
    return perplexities.at(freqfold);
  });
  return search;
}

TEST(FreqFoldTest, StopsAtTheFirstThatIsNotBetter) {
  const Search search = RunSearch(1, 32, {{1, 9}, {2, 7}, {4, 7}, {8, 1}});
  EXPECT_EQ(search.choice->freqfold, 2);
  EXPECT_EQ(search.choice->perplexity, 7);
  EXPECT_EQ(search.asked, (std::vector<int>{1, 2, 4}));
}

TEST(FreqFoldTest, EndsWithAllFrequenciesInOneGroup) {
  const Search search = RunSearch(2, 8, {{2, 9}, {4, 8}, {8, 7}});
  EXPECT_EQ(search.choice->freqfold, 8);
  EXPECT_EQ(search.asked, (std::vector<int>{2, 4, 8}));
}

TEST(FreqFoldTest, TakesOnlyDivisorsOfThePairs) {
  EXPECT_EQ(RunSearch(1, 6, {{1, 9}, {2, 8}}).asked, (std::vector<int>{1, 2}));
}

TEST(FreqFoldTest, PassesErrorsOn) {
  int calls = 0;
  const absl::StatusOr<FreqFoldChoice> choice =
      ChooseFreqFold(1, 8, [&](int) -> absl::StatusOr<double> {
        if (++calls == 2) return absl::CancelledError("stop");
        return 5.0;
      });
  EXPECT_EQ(choice.status().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace transmla
