// Whether a text is one that a grammar allows, for tests.
#ifndef TRANSMLA_TESTS_ENGINE_GRAMMAR_MATCHING_H_
#define TRANSMLA_TESTS_ENGINE_GRAMMAR_MATCHING_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "engine/grammar/automaton.h"
#include "engine/grammar/network.h"

namespace transmla::grammar {

inline std::unique_ptr<Automaton> AutomatonOf(const Grammar& grammar) {
  absl::StatusOr<Network> network = BuildNetwork(grammar);
  if (!network.ok()) return nullptr;
  return std::make_unique<Automaton>(std::make_shared<const Network>(*std::move(network)));
}

inline bool Matches(const absl::StatusOr<Grammar>& grammar, absl::string_view text) {
  if (!grammar.ok()) return false;
  const std::unique_ptr<Automaton> automaton = AutomatonOf(*grammar);
  if (automaton == nullptr) return false;
  Automaton::State state = automaton->start();
  for (const char byte : text) {
    if (state == Automaton::kDead) return false;
    state = automaton->Next(state, static_cast<uint8_t>(byte));
  }
  return state != Automaton::kDead && automaton->Accepts(state);
}

}  // namespace transmla::grammar

#endif  // TRANSMLA_TESTS_ENGINE_GRAMMAR_MATCHING_H_
