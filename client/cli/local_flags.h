// The flags that several commands have.
#ifndef TRANSMLA_CLIENT_CLI_LOCAL_FLAGS_H_
#define TRANSMLA_CLIENT_CLI_LOCAL_FLAGS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/flags/declare.h"

ABSL_DECLARE_FLAG(std::string, device);
ABSL_DECLARE_FLAG(int, threads);
ABSL_DECLARE_FLAG(std::vector<std::string>, text);
ABSL_DECLARE_FLAG(std::optional<std::string>, cache_dtype);

#endif  // TRANSMLA_CLIENT_CLI_LOCAL_FLAGS_H_
