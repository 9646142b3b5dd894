// The flags of generate and chat that say how text is drawn.
#ifndef TRANSMLA_CLIENT_CLI_SAMPLING_FLAGS_H_
#define TRANSMLA_CLIENT_CLI_SAMPLING_FLAGS_H_

#include "absl/status/statusor.h"

#include "client/lib/client.h"

namespace transmla {

// A request with sampling and stop options as the flags say and no prompt yet. InvalidArgument if
// flags exclude each other; the error of a file that a flag names.
absl::StatusOr<CompletionRequest> RequestFromFlags();

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_CLI_SAMPLING_FLAGS_H_
