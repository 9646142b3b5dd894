#include "engine/grammar/constraint_compiler.h"

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"

namespace transmla {
namespace {

// Different for different specs: every part is led by its length.
std::string KeyOf(const ConstraintSpec& spec) {
  std::string key =
      absl::StrCat(static_cast<int>(spec.kind), ":", spec.text.size(), ":", spec.text);
  for (const std::string& choice : spec.choices) absl::StrAppend(&key, choice.size(), ":", choice);
  return key;
}

}  // namespace

std::shared_ptr<const TokenTrie> ConstraintCompiler::Tokens() {
  absl::MutexLock lock(&mutex_);
  if (tokens_ == nullptr) tokens_ = std::make_shared<const TokenTrie>(token_bytes_());
  return tokens_;
}

absl::StatusOr<std::shared_ptr<Constraint>> ConstraintCompiler::Compile(
    const ConstraintSpec& spec) {
  const std::string key = KeyOf(spec);
  {
    absl::MutexLock lock(&mutex_);
    if (const auto found = by_key_.find(key); found != by_key_.end()) {
      kept_.splice(kept_.begin(), kept_, found->second);
      return found->second->second;
    }
  }
  ASSIGN_OR_RETURN(std::shared_ptr<Constraint> constraint, Constraint::Compile(spec, Tokens()));
  absl::MutexLock lock(&mutex_);
  // Another may have compiled the same meanwhile: either will do.
  if (by_key_.contains(key)) return constraint;
  kept_.emplace_front(key, constraint);
  by_key_[key] = kept_.begin();
  if (kept_.size() > kMaxKept) {
    by_key_.erase(kept_.back().first);
    kept_.pop_back();
  }
  return constraint;
}

absl::StatusOr<std::shared_ptr<BannedWords>> ConstraintCompiler::CompileBanned(
    absl::Span<const std::string> words) {
  return BannedWords::Compile(words, Tokens());
}

}  // namespace transmla
