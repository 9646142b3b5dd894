#include "client/cli/local_flags.h"

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, device, "cpu", "cpu or cuda:N");
ABSL_FLAG(int, threads, 0, "Processor threads; 0: all usable cores");
ABSL_FLAG(std::vector<std::string>, text, {}, "Text files, comma-separated");
ABSL_FLAG(std::optional<std::string>, cache_dtype, std::nullopt,
          "Type of the key/value cache: f32, f16, bf16 or int8");
