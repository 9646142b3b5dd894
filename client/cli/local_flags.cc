#include "client/cli/local_flags.h"

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, device, "cpu", "cpu or cuda:N");
ABSL_FLAG(int, threads, 0, "Processor threads; 0: all usable cores");
ABSL_FLAG(std::vector<std::string>, text, {}, "Text files, comma-separated");
