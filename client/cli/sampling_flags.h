// The flags of generate and chat that say how text is drawn.
#ifndef TRANSMLA_CLIENT_CLI_SAMPLING_FLAGS_H_
#define TRANSMLA_CLIENT_CLI_SAMPLING_FLAGS_H_

#include "client/lib/client.h"

namespace transmla {

// A request with sampling and stop options as the flags say and no prompt yet.
CompletionRequest RequestFromFlags();

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_CLI_SAMPLING_FLAGS_H_
