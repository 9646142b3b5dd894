// CheckJson: whether a text is JSON that is safe to build a tree from.
//
// The library's parser keeps the last of two equal keys and builds trees of any depth; files from
// strangers get neither.
#ifndef TRANSMLA_ENGINE_FORMAT_JSON_CHECK_H_
#define TRANSMLA_ENGINE_FORMAT_JSON_CHECK_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace transmla {

// OK if `text` is one JSON object in UTF-8, nested at most kMaxJsonDepth deep (limits.h), without
// duplicate keys in any object; else InvalidArgument naming `path`, the byte and what is wrong.
// O(text.size()) time and memory.
absl::Status CheckJson(const std::string& path, absl::string_view text);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_JSON_CHECK_H_
