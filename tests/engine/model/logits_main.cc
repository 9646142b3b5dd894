// Writes a model's logits at every position, for comparison with other programs
// (bench/conversion/check_stock_transformers).
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

#include "engine/base/status.h"
#include "tests/engine/model/model_runner.h"

ABSL_FLAG(std::string, model, "", "GGUF file or Hugging Face folder");
ABSL_FLAG(std::string, ids, "", "Text file: the token ids of a sequence a line");
ABSL_FLAG(std::string, out, "",
          "File to write: float32 logits, [tokens, vocab_size] of each sequence after the other");
ABSL_FLAG(int, threads, 2, "Threads of the CPU backend");

namespace transmla {
namespace {

absl::StatusOr<std::vector<std::vector<int>>> ReadSequences(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  std::vector<std::vector<int>> sequences;
  for (std::string line; std::getline(file, line);) {
    std::vector<int>& ids = sequences.emplace_back();
    for (const absl::string_view word : absl::StrSplit(line, ' ', absl::SkipEmpty())) {
      if (!absl::SimpleAtoi(word, &ids.emplace_back()))
        return absl::InvalidArgumentError(absl::StrCat(path, ": \"", word, "\" is no token id"));
    }
  }
  return sequences;
}

absl::Status Run() {
  ASSIGN_OR_RETURN(const std::vector<std::vector<int>> sequences,
                   ReadSequences(absl::GetFlag(FLAGS_ids)));
  int longest = 1;
  for (const std::vector<int>& ids : sequences)
    longest = std::max(longest, static_cast<int>(ids.size()));
  // Pages hold at least one token.
  ASSIGN_OR_RETURN(
      const std::unique_ptr<ModelRunner> runner,
      ModelRunner::Open(absl::GetFlag(FLAGS_model), {.threads = absl::GetFlag(FLAGS_threads),
                                                     .limits = {.max_tokens = longest,
                                                                .max_sequences = 1,
                                                                .max_logit_tokens = longest,
                                                                .max_context_tokens = longest},
                                                     .pages = longest}));
  std::ofstream out(absl::GetFlag(FLAGS_out), std::ios::binary);
  for (const std::vector<int>& ids : sequences) {
    ASSIGN_OR_RETURN(const auto logits, runner->Step({{0, ids}}));
    out.write(reinterpret_cast<const char*>(logits[0].data()),
              static_cast<std::streamsize>(logits[0].size() * sizeof(float)));
    runner->End(0);
  }
  out.close();
  if (!out)
    return absl::ResourceExhaustedError(
        absl::StrCat(absl::GetFlag(FLAGS_out), ": cannot be written"));
  return absl::OkStatus();
}

}  // namespace
}  // namespace transmla

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = transmla::Run();
  if (status.ok()) return 0;
  absl::FPrintF(stderr, "%s\n", status.ToString());
  return 1;
}
