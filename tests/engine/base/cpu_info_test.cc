#include "engine/base/cpu_info.h"

#include <vector>

#include <sched.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace transmla {
namespace {

TEST(CpuInfoTest, NumbersAreThoseOfThisMachine) {
  const CpuInfo& info = GetCpuInfo();
  EXPECT_GE(info.usable_cores, 1);
  EXPECT_LE(info.usable_cores, sysconf(_SC_NPROCESSORS_CONF));
  EXPECT_GT(info.memory_bytes, 1 << 20);
  EXPECT_LE(info.memory_bytes, int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE));
  EXPECT_EQ(&info, &GetCpuInfo());
}

TEST(CpuInfoTest, UsesNoMoreThanTheAffinityMask) {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  ASSERT_EQ(sched_getaffinity(0, sizeof(mask), &mask), 0);
  EXPECT_LE(GetCpuInfo().usable_cores, CPU_COUNT(&mask));
}

TEST(CpuInfoTest, WiderSetsContainNarrowerOnes) {
  const CpuInfo& info = GetCpuInfo();
  EXPECT_LE(info.avx512, info.avx2);
  EXPECT_LE(info.avx512_vnni, info.avx512);
  EXPECT_LE(info.avx512_bf16, info.avx512);
  EXPECT_LE(info.avx_vnni, info.avx2);
  EXPECT_LE(info.amx_int8, info.avx512);
  EXPECT_LE(info.amx_bf16, info.avx512);
}

TEST(CpuInfoTest, PeakMemoryGrowsWithUse) {
  const int64_t before = PeakResidentBytes();
  EXPECT_GT(before, 0);
  constexpr size_t kBytes = size_t{64} << 20;
  const std::vector<char> touched(before + kBytes, 1);
  EXPECT_GE(PeakResidentBytes(), before + static_cast<int64_t>(kBytes)) << touched.size();
}

}  // namespace
}  // namespace transmla
