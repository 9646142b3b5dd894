// Runs a fuzz target over the files of its corpus, for builds without libFuzzer: a regression test
// in every build.
//
// Usage: fuzz_X FOLDER. Each file is given whole, then cut at every sixteenth byte of its first
// 4096, then with each of those bytes inverted; a finding aborts as it would under the fuzzer.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

void Try(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " FOLDER\n";
    return 2;
  }
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string input(std::istreambuf_iterator<char>(file), {});
    Try(input);
    for (size_t i = 0; i < std::min<size_t>(input.size(), 4096); i += 16) {
      Try(input.substr(0, i));
      std::string inverted = input;
      inverted[i] = static_cast<char>(~inverted[i]);
      Try(inverted);
    }
    ++files;
  }
  std::cout << files << " files\n";
  return files > 0 ? 0 : 1;  // an empty corpus tests nothing
}
