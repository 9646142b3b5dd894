// main() of tests that need a GPU. Exit code 77 if every test was skipped, which CTest reports as
// skipped (cmake/library.cmake): a machine without a device must not look like one that passed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace {
constexpr int kSkipped = 77;
}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  const int result = RUN_ALL_TESTS();
  const ::testing::UnitTest& tests = *::testing::UnitTest::GetInstance();
  const bool all_skipped = tests.skipped_test_count() == tests.test_to_run_count();
  return result == 0 && all_skipped ? kSkipped : result;
}
