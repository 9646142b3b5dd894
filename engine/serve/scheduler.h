// Scheduler decides what each step computes: continuous batching with chunked prefill under a token
// budget.
//
// A pure state machine: no threads, no clock, no model. The same calls give the same plans. Decodes
// run first, one token each; what is left of the budget goes to prompts in chunks, oldest first;
// then waiting sequences are admitted by priority, by their tenants' turn and by age, each with the
// pages of all its tokens and while a page to grow into is left for everyone that runs. When pages
// run out the sequence that goes last (lowest priority, then youngest) is preempted: it gives its
// pages back and is computed again later. The sequence that goes first is never preempted for
// another, so everyone ends; and unless it runs alone nobody is admitted to be preempted within the
// next kPageTokens steps.
//
// A full page that has been computed goes into the pool's prefix index. A sequence that begins with
// the same tokens starts with these pages, at admission, and computes what comes after them, at
// least its last token; one that names another with the same prompt waits while that one computes
// it. Two that compute the same page at the same time keep one copy. So pages are
// shared only when they are full; nobody writes to them again.
//
// With expanded_block, prompts of latent models attend in expanded form where that pays. A token's
// bits depend on the form, so that its position alone decides, not the step: blocks of that many
// positions that the prompt fills attend expanded; the first block, what is behind the last full
// block, and what is generated are absorbed. Of what may be in either form, by prompt, pages are
// not shared: a sequence shares those of its first block and of its expanded ones.
//
// Thread-compatible.
#ifndef TRANSMLA_ENGINE_SERVE_SCHEDULER_H_
#define TRANSMLA_ENGINE_SERVE_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

#include "engine/cache/page_pool.h"
#include "engine/serve/fair_share.h"
#include "engine/serve/plan.h"
#include "engine/serve/sequence.h"

namespace transmla {

struct SchedulerOptions {
  int max_step_tokens = 512;  // budget of a step
  int max_running = 64;       // sequences that hold pages
  // Logits of a step beyond one for each running sequence: for prompts whose logits are wanted, and
  // for drafts.
  int spare_logits = 0;
  int pages = 0;                 // of the cache
  bool prefix_cache = true;      // pages are shared between sequences that begin alike
  int expanded_block = 0;        // positions, a multiple of kPageTokens; 0: all are absorbed
  TenantWeights tenant_weights;  // as FairShare's
};

class Scheduler {
 public:
  // `store` keeps contents of pages that are handed out again; may be null; must outlive this.
  explicit Scheduler(const SchedulerOptions& options, PageStore* store = nullptr)
      : options_(options), pool_(options.pages, store), fair_share_(options.tenant_weights) {}
  ~Scheduler();

  // Takes a sequence to the waiting ones and returns it; the scheduler owns it until Finish.
  // REQUIRES: tokens not empty, number unused, and the pages of the longest it can get within
  // pool().total_pages().
  Sequence* Add(std::unique_ptr<Sequence> sequence);

  // Plans a step at `now`: moves states and takes pages. The chunks are then computed, and Computed
  // called, before the next Step.
  Plan Step(absl::Time now);
  // The plan's chunks are in the cache now.
  void Computed(const Plan& plan);
  // Adds a generated token. REQUIRES: running, everything computed.
  void Append(uint64_t number, int32_t token);
  // The token appended last is in the cache already: it was the draft's at that place.
  void AcceptDraft(uint64_t number);
  // Ends a sequence in any state and gives its pages back. Unknown numbers are ignored.
  void Finish(uint64_t number);

  bool idle() const { return sequences_.empty(); }
  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(waiting_.size()); }
  int64_t preemptions() const { return preemptions_; }
  // Tokens of sequences that looked for their beginning in the cache, and those found; once an
  // admission, so that a preempted sequence counts again.
  int64_t prefix_queried_tokens() const { return prefix_queried_tokens_; }
  int64_t prefix_hit_tokens() const { return prefix_hit_tokens_; }
  const PagePool& pool() const { return pool_; }
  // Running and waiting sequences in the order in which they go, for invariants in tests.
  const std::vector<Sequence*>& running_sequences() const { return running_; }
  const std::vector<Sequence*>& waiting_sequences() const { return waiting_; }

 private:
  void Expire(absl::Time now, Plan& plan);
  // What is left of a step.
  struct Budget {
    int tokens;
    int spare_logits;
  };
  void PlanDecodes(Plan& plan, Budget& budget);
  void PlanPrefills(Plan& plan, Budget& budget);
  void Admit(Plan& plan, Budget& budget);
  // Of the waiting sequences, the one whose turn it is. REQUIRES: there is one.
  Sequence* NextWaiting() const;
  // Tokens of its draft that a decode may check: those that need no further page.
  int DraftTokens(const Sequence& sequence, const Budget& budget) const;
  // Whether it finds pages and leaves its own.
  bool Shares(const Sequence& sequence) const {
    return options_.prefix_cache && sequence.prefix_cache && sequence.prompt_logits == 0;
  }
  // From which position on its pages are its own.
  int SharedEnd(const Sequence& sequence) const;
  // Whether the pages that it wants to share are being computed.
  bool WaitsForPages(const Sequence& sequence) const;
  // Entries of the pages that hold the beginning of `sequence`, short of its last token.
  std::vector<PrefixIndex::Entry> FindPrefix(const Sequence& sequence) const;
  bool HasRoom(const Sequence& sequence, absl::Span<const PrefixIndex::Entry> prefix) const;
  // Gives it the pages of the prefix, as far as they can be had.
  void TakePrefix(Sequence& sequence, absl::Span<const PrefixIndex::Entry> prefix);
  void StartWith(Sequence& sequence, absl::Span<const PrefixIndex::Entry> prefix);
  // Enters the pages of `sequence` that are full now.
  void IndexPages(Sequence& sequence);
  // Pages for `tokens` positions of `sequence`, preempting those that go after it if need be.
  bool MakeRoom(Sequence& sequence, int tokens);
  void Preempt(Sequence& sequence);
  // A chunk of its next tokens, as many as the budget allows; none if that is none.
  void AddChunk(Plan& plan, Sequence& sequence, Budget& budget);
  static void Insert(std::vector<Sequence*>& list, Sequence* sequence);
  static void Erase(std::vector<Sequence*>& list, const Sequence* sequence);

  const SchedulerOptions options_;
  PagePool pool_;
  FairShare fair_share_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;  // in the order in which they go
  std::vector<Sequence*> waiting_;  // likewise
  int64_t preemptions_ = 0;
  int64_t prefix_queried_tokens_ = 0;
  int64_t prefix_hit_tokens_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_SCHEDULER_H_
