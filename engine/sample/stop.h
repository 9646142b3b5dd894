// StopMatcher ends a text at the first of its stop strings and never lets a part of that one out.
//
// The first is the one that is complete first; of several that end at the same byte, the longest.
// So how the text comes in pieces does not matter, and no token is generated only to see whether a
// longer one matches.
#ifndef TRANSMLA_ENGINE_SAMPLE_STOP_H_
#define TRANSMLA_ENGINE_SAMPLE_STOP_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace transmla {

// Thread-compatible.
class StopMatcher {
 public:
  // With `include`, a matched stop string is part of the text.
  StopMatcher(std::vector<std::string> stops, bool include)
      : stops_(std::move(stops)), include_(include) {}

  struct Result {
    std::string text;     // may go out now
    std::string matched;  // the stop string that ended the text; empty if none did
  };
  // Takes the next piece of text. After a match nothing may be pushed.
  Result Push(absl::string_view text);
  // What was held back, once no more text comes.
  std::string Flush();

 private:
  const std::vector<std::string> stops_;
  const bool include_;
  std::string held_;  // could be the beginning of a stop string
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SAMPLE_STOP_H_
