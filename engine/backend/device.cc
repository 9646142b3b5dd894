#include "engine/backend/device.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace transmla {

absl::StatusOr<DeviceSpec> ParseDeviceSpec(absl::string_view text) {
  if (text == "cpu") return DeviceSpec{DeviceSpec::Kind::kCpu, 0};
  if (text == "cuda") return DeviceSpec{DeviceSpec::Kind::kCuda, 0};
  absl::string_view number = text;
  int index = 0;
  // A digit first: SimpleAtoi would take signs and spaces.
  if (absl::ConsumePrefix(&number, "cuda:") && !number.empty() &&
      absl::ascii_isdigit(static_cast<unsigned char>(number[0])) &&
      absl::SimpleAtoi(number, &index)) {
    return DeviceSpec{DeviceSpec::Kind::kCuda, index};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("device \"", text, "\" is unknown; use cpu, cuda or cuda:N with N from 0"));
}

}  // namespace transmla
