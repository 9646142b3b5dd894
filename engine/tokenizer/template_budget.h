// Budget counts what a rendering costs, TextBuilder makes text under it.
#ifndef TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_BUDGET_H_
#define TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_BUDGET_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace transmla::jinja {

// One a rendering. Thread-compatible. Every charge returns InvalidArgument once its limit
// (template_limits.h) is passed, and is made before the work it stands for.
class Budget {
 public:
  absl::Status Steps(int64_t count);
  // Text that is looked at.
  absl::Status Read(size_t bytes) { return Steps(static_cast<int64_t>(bytes / 64)); }
  // Memory that is filled.
  absl::Status Write(size_t bytes);

 private:
  int64_t steps_ = 0;
  int64_t bytes_ = 0;
};

// Appends to a text until something fails; from then on it ignores what it is given and remembers
// the first failure, so that recursive writers need not check each step.
class TextBuilder {
 public:
  explicit TextBuilder(Budget& budget) : budget_(budget) {}

  void Append(absl::string_view piece);
  void Fail(absl::Status status);
  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  // REQUIRES: ok(). Leaves the builder empty.
  std::string Take() { return std::exchange(text_, std::string()); }

 private:
  Budget& budget_;
  std::string text_;
  absl::Status status_;
};

}  // namespace transmla::jinja

#endif  // TRANSMLA_ENGINE_TOKENIZER_TEMPLATE_BUDGET_H_
