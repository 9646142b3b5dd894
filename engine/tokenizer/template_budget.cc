#include "engine/tokenizer/template_budget.h"

#include "absl/strings/str_cat.h"

#include "engine/tokenizer/template_limits.h"

namespace transmla::jinja {

absl::Status Budget::Steps(int64_t count) {
  steps_ += count;
  if (steps_ <= kMaxRenderSteps) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("rendering takes more than the limit of ", kMaxRenderSteps, " steps"));
}

absl::Status Budget::Write(size_t bytes) {
  bytes_ += static_cast<int64_t>(bytes);
  if (bytes_ > kMaxRenderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("rendering fills more than the limit of ", kMaxRenderBytes, " bytes"));
  }
  return Read(bytes);
}

void TextBuilder::Append(absl::string_view piece) {
  if (!status_.ok()) return;
  if (static_cast<int64_t>(text_.size() + piece.size()) > kMaxTemplateTextBytes) {
    Fail(absl::InvalidArgumentError(
        absl::StrCat("a text grows beyond the limit of ", kMaxTemplateTextBytes, " bytes")));
    return;
  }
  if (absl::Status charged = budget_.Write(piece.size()); !charged.ok()) {
    Fail(std::move(charged));
    return;
  }
  absl::StrAppend(&text_, piece);
}

void TextBuilder::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

}  // namespace transmla::jinja
