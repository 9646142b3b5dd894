// ConstraintCompiler: constraints for one model's vocabulary, each compiled once.
#ifndef TRANSMLA_ENGINE_GRAMMAR_CONSTRAINT_COMPILER_H_
#define TRANSMLA_ENGINE_GRAMMAR_CONSTRAINT_COMPILER_H_

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

#include "engine/grammar/banned_words.h"
#include "engine/grammar/constraint.h"
#include "engine/grammar/token_trie.h"

namespace transmla {

// Thread-safe. Compiling takes milliseconds, for large schemas more: not for a thread that must
// not wait. The results may outlive it.
class ConstraintCompiler {
 public:
  // `token_bytes` gives the bytes of every token of the vocabulary; called once, when needed first.
  explicit ConstraintCompiler(std::function<std::vector<std::string>()> token_bytes)
      : token_bytes_(std::move(token_bytes)) {}

  // As Constraint::Compile. The same spec gives the same constraint, as long as it is among those
  // used last.
  absl::StatusOr<std::shared_ptr<Constraint>> Compile(const ConstraintSpec& spec);
  // As BannedWords::Compile.
  absl::StatusOr<std::shared_ptr<BannedWords>> CompileBanned(absl::Span<const std::string> words);

 private:
  static constexpr size_t kMaxKept = 32;
  using Kept = std::list<std::pair<std::string, std::shared_ptr<Constraint>>>;  // the last first

  std::shared_ptr<const TokenTrie> Tokens();

  const std::function<std::vector<std::string>()> token_bytes_;
  absl::Mutex mutex_;
  std::shared_ptr<const TokenTrie> tokens_ ABSL_GUARDED_BY(mutex_);
  Kept kept_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Kept::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_GRAMMAR_CONSTRAINT_COMPILER_H_
