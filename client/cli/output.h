// How results are printed: text for people, one JSON object for programs (--json).
#ifndef TRANSMLA_CLIENT_CLI_OUTPUT_H_
#define TRANSMLA_CLIENT_CLI_OUTPUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "client/lib/client.h"

namespace transmla {

// True if --json was given.
bool JsonWanted();
// One object on standard output.
void PrintJson(const nlohmann::json& object);

nlohmann::json ToJson(const CompletionResult& result);
nlohmann::json ToJson(const ModelDescription& model);
// A few lines for people.
std::string ToText(const ModelDescription& model);

// "128 tokens in 2.1 s: first after 85 ms, then 63.2 tokens/s"
std::string SpeedLine(const CompletionResult& result);
// "11.5 KiB", "270.4 MiB"
std::string HumanBytes(uint64_t bytes);

// The value below which a share `p` of the values lies (nearest rank). REQUIRES: values sorted, not
// empty.
double Percentile(const std::vector<double>& sorted, double p);

}  // namespace transmla

#endif  // TRANSMLA_CLIENT_CLI_OUTPUT_H_
