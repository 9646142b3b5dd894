// What a source may have that DeepSeek-V3's models do not, whichever of it our own format carries.
#ifndef TRANSMLA_ENGINE_CONVERT_BEYOND_DEEPSEEK_H_
#define TRANSMLA_ENGINE_CONVERT_BEYOND_DEEPSEEK_H_

#include "absl/strings/string_view.h"

#include "engine/model/model_spec.h"

namespace transmla {

// The first such feature, in words that go behind "models with"; empty if there is none. Experts
// and biases are not looked at: what knows DeepSeek's knows some of those.
absl::string_view FeatureBeyondDeepseek(const ModelSpec& spec);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_BEYOND_DEEPSEEK_H_
