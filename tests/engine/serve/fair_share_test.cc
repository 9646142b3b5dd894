#include "engine/serve/fair_share.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace transmla {
namespace {

TEST(FairShareTest, ChargesByWeight) {
  FairShare share({{"heavy", 4}});
  share.Arrive("heavy");
  share.Arrive("light");
  share.Charge("heavy", 100);
  share.Charge("light", 100);
  EXPECT_EQ(share.served("heavy"), 25);
  EXPECT_EQ(share.served("light"), 100);
  EXPECT_EQ(share.active(), 2);
}

TEST(FairShareTest, WhoComesLateIsLiftedToTheLeastServed) {
  FairShare share({});
  share.Arrive("a");
  share.Arrive("b");
  share.Charge("a", 300);
  share.Charge("b", 200);
  share.Arrive("c");
  EXPECT_EQ(share.served("c"), 200);
}

TEST(FairShareTest, LeavingForAMomentIsNoFreshStart) {
  FairShare share({});
  share.Arrive("a");
  share.Arrive("b");
  share.Charge("a", 300);
  share.Charge("b", 10);
  share.Leave("a");
  share.Arrive("a");
  EXPECT_EQ(share.served("a"), 300);
  // Two requests of one tenant are one tenant.
  share.Arrive("a");
  share.Leave("a");
  EXPECT_EQ(share.active(), 2);
}

TEST(FairShareTest, AnyNumberOfNamesTakesBoundedMemory) {
  FairShare share({});
  share.Arrive("stays");
  share.Charge("stays", 1);
  for (int i = 0; i < 5000; ++i) {
    const std::string name = absl::StrCat("tenant ", i);
    share.Arrive(name);
    share.Charge(name, i == 7 ? 1e6 : 1);
    share.Leave(name);
  }
  EXPECT_EQ(share.active(), 1);
  share.Arrive("tenant 7");
  EXPECT_EQ(share.served("tenant 7"), 1e6 + 1) << "who took most is remembered longest";
}

}  // namespace
}  // namespace transmla
