// Normalizer: the "normalizer" section of tokenizer.json, as far as byte-level models use it.
#ifndef TRANSMLA_ENGINE_TOKENIZER_NORMALIZER_H_
#define TRANSMLA_ENGINE_TOKENIZER_NORMALIZER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include <nlohmann/json_fwd.hpp>

namespace transmla {

// `text` in Unicode's normalisation form C (UAX 15). O(n log n), also for long runs of combining
// marks. REQUIRES: `text` is UTF-8.
std::string ToNfc(absl::string_view text);

// Immutable; thread-safe.
class Normalizer {
 public:
  // `where` names the section. null, NFC, or a Sequence of these; InvalidArgument for a broken
  // section, Unimplemented for another type.
  static absl::StatusOr<Normalizer> FromJson(const std::string& where,
                                             const nlohmann::json& section);

  bool changes_text() const { return nfc_; }
  // REQUIRES: `text` is UTF-8.
  std::string Normalize(absl::string_view text) const;

 private:
  explicit Normalizer(bool nfc) : nfc_(nfc) {}

  bool nfc_;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_NORMALIZER_H_
