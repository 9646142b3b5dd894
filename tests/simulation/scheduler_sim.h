// Simulates the scheduler with its pages and no model: random arrivals, priorities, cancellations
// and deadlines on a tiny cache, all from one seed. After each step it checks what must always
// hold.
//
// The "model" keeps one number a cache cell: a hash of the sequence's tokens up to there, made from
// the cell before, read through the page table. The next token is a hash of the last cell. So a
// page that is lost, found by a sequence that begins otherwise, or not computed again changes the
// tokens, which a reference without pages knows; so does a cell made in the other form of attention
// than its position has. Many prompts begin alike: with one of a few system
// prompts, or with what was asked and answered before. Some sequences carry drafts, right and wrong
// ones, some want the logits of their prompt, and some belong to tenants.
#ifndef TRANSMLA_TESTS_SIMULATION_SCHEDULER_SIM_H_
#define TRANSMLA_TESTS_SIMULATION_SCHEDULER_SIM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "engine/base/random.h"
#include "engine/serve/scheduler.h"

namespace transmla {

// What happened, to prove that a run visits the rare cases.
struct SimCounts {
  int64_t steps = 0;
  int64_t arrived = 0;
  int64_t completed = 0;
  int64_t cancelled = 0;
  int64_t out_of_time = 0;
  int64_t out_of_queue_time = 0;
  int64_t preemptions = 0;
  int64_t completed_after_preemption = 0;
  int64_t mixed_steps = 0;     // decodes and prompts in one step
  int64_t queried_tokens = 0;  // of sequences that looked for their beginning
  int64_t hit_tokens = 0;      // and found so many of them
  int64_t kept_steps = 0;      // with contents kept of which nobody is a user
  int64_t restored_pages = 0;
  int64_t failed_stores = 0;
  int64_t draft_tokens = 0;
  int64_t accepted_draft_tokens = 0;
  int64_t prompt_logits = 0;
  int64_t expanded_tokens = 0;
  int64_t expanded_hit_tokens = 0;  // found by sequences when they first ran
  int64_t other_turns = 0;          // admissions of a tenant before an older request of another
};

class SchedulerSim : private PageStore {
 public:
  explicit SchedulerSim(uint64_t seed);

  // `steps` steps with arrivals, then without until everyone has ended. Returns what was wrong
  // first, or an empty string.
  std::string Run(int64_t steps);
  const SimCounts& counts() const { return counts_; }

 private:
  struct Request {
    Sequence* sequence = nullptr;
    std::vector<int32_t> tokens;   // the reference's: prompt and what must be generated so far
    std::vector<uint64_t> hashes;  // of tokens up to each position
    int prompt = 0;                // tokens
    int longest = 0;               // ends with so many tokens
    absl::Time deadline, queue_deadline;
    bool started = false;
    int prompt_logits = 0;  // that came
  };

  static uint64_t Chain(uint64_t before, int32_t token, bool expanded = false);
  // Whether a prompt's token attends in expanded form.
  bool IsExpanded(int prompt, int position) const;
  static SchedulerOptions DrawOptions(Random& random);

  std::vector<int32_t> DrawPrompt(int size);
  // The prompt of a live request, which the new one then follows.
  void Repeat(const Request& request, Sequence& sequence);
  void Arrive();
  void CancelOne();
  void Step();
  void CheckTime(const Plan& plan);
  void CheckPages();
  void CheckOrder(const std::vector<uint64_t>& before, int64_t preemptions);
  void CheckPlan(const Plan& plan);
  void Compute(const Plan::Chunk& chunk);
  // The store that contents of pages go to: it fails now and then.
  int slots() const override { return static_cast<int>(slots_.size() / kPageTokens); }
  bool Save(PageId page, int slot) override;
  bool Load(int slot, PageId page) override;
  void Draft();
  void CheckPromptLogits(const Plan::Chunk& chunk, int first);
  void Sample(const Plan::Chunk& chunk);
  // False if the request has ended with it.
  bool TakeToken(uint64_t number, int32_t token);
  void Forget(uint64_t number);
  std::string Drain();
  uint64_t& Cell(const Sequence& sequence, int position);
  // Notes the first failure.
  void Expect(bool holds, const char* what);

  Random random_;
  const SchedulerOptions options_;
  std::vector<uint64_t> slots_;  // [slots, kPageTokens]
  const int most_drafts_;        // of a decode; in half of the runs none
  Scheduler scheduler_;
  absl::Time now_ = absl::UnixEpoch();
  uint64_t next_number_ = 1;
  double arrival_rate_ = 0;                       // a step
  int64_t last_admission_ = -kPageTokens;         // step
  int64_t last_end_ = 0;                          // step
  std::map<uint64_t, Request> live_;              // ordered: the same seed gives the same run
  std::vector<uint64_t> cells_;                   // [pages, kPageTokens]
  std::vector<std::vector<int32_t>> beginnings_;  // that prompts share
  SimCounts counts_;
  std::string failure_;
};

}  // namespace transmla

#endif  // TRANSMLA_TESTS_SIMULATION_SCHEDULER_SIM_H_
