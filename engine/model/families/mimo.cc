// MiMo: qwen2 with more layers behind the last, which guess further tokens in training and are not
// part of the model that answers.
#include "engine/model/family.h"
#include "engine/model/gqa_features.h"

namespace transmla {
namespace {

const TensorNames& Names() {
  static const TensorNames* const names = [] {
    auto* made = new TensorNames(HuggingFaceNames());
    made->ignored_prefixes = {"model.mtp_layers."};
    return made;
  }();
  return *names;
}

absl::StatusOr<ModelSpec> Features(const CheckpointReader& checkpoint) {
  return GqaFeatures(checkpoint, {});
}

}  // namespace

const Family kMimo = {
    .name = "mimo",
    .architectures = {"MiMoForCausalLM"},
    .hugging_face_names = Names,
    .features = Features,
};

}  // namespace transmla
