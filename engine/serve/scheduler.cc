#include "engine/serve/scheduler.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "engine/base/check.h"
#include "engine/base/error_reason.h"

namespace transmla {

Scheduler::~Scheduler() {
  for (const auto& [number, sequence] : sequences_) sequence->table.Release(pool_);
}

void Scheduler::Insert(std::vector<Sequence*>& list, Sequence* sequence) {
  const auto at = std::find_if(list.begin(), list.end(), [sequence](const Sequence* other) {
    return GoesBefore(*sequence, *other);
  });
  list.insert(at, sequence);
}

void Scheduler::Erase(std::vector<Sequence*>& list, const Sequence* sequence) {
  list.erase(std::remove(list.begin(), list.end(), sequence), list.end());
}

Sequence* Scheduler::Add(std::unique_ptr<Sequence> sequence) {
  CHECK(!sequence->tokens.empty());
  CHECK_LE(BlockTable::PagesFor(static_cast<int>(sequence->tokens.size())), pool_.total_pages());
  Sequence* const added = sequence.get();
  if (const int block = options_.expanded_block; block > 0) {
    added->expanded_begin = block;
    const int prompt = static_cast<int>(added->tokens.size());
    added->expanded_end = std::max(block, prompt / block * block);
  }
  const bool inserted = sequences_.emplace(added->number, std::move(sequence)).second;
  CHECK(inserted);
  added->state = SequenceState::kWaiting;
  added->prefix = added->root;
  fair_share_.Arrive(added->tenant);
  Insert(waiting_, added);
  return added;
}

void Scheduler::Finish(uint64_t number) {
  const auto found = sequences_.find(number);
  if (found == sequences_.end()) return;
  Sequence* const sequence = found->second.get();
  sequence->table.Release(pool_);
  sequence->state = SequenceState::kFinished;
  Erase(running_, sequence);
  Erase(waiting_, sequence);
  fair_share_.Leave(sequence->tenant);
  sequences_.erase(found);
}

void Scheduler::Append(uint64_t number, int32_t token) {
  Sequence& sequence = *sequences_.at(number);
  CHECK(sequence.state == SequenceState::kRunning);
  CHECK_EQ(sequence.computed, static_cast<int>(sequence.tokens.size()));
  sequence.tokens.push_back(token);
  fair_share_.Charge(sequence.tenant, FairShare::kGeneratedCost);
}

void Scheduler::AcceptDraft(uint64_t number) {
  Sequence& sequence = *sequences_.at(number);
  CHECK_EQ(sequence.computed + 1, static_cast<int>(sequence.tokens.size()));
  ++sequence.computed;
  IndexPages(sequence);
}

void Scheduler::Computed(const Plan& plan) {
  for (const Plan::Chunk& chunk : plan.chunks) {
    Sequence& sequence = *chunk.sequence;
    const int tokens = chunk.tokens - chunk.drafts;
    // A generated token was charged when it was drawn.
    if (!sequence.Decodes()) fair_share_.Charge(sequence.tenant, tokens);
    sequence.computed += tokens;
    sequence.prompt_logits_done =
        std::max(sequence.prompt_logits_done, std::min(sequence.computed, sequence.prompt_logits));
    IndexPages(sequence);
  }
}

int Scheduler::SharedEnd(const Sequence& sequence) const {
  return options_.expanded_block == 0 ? std::numeric_limits<int>::max() : sequence.expanded_end;
}

void Scheduler::IndexPages(Sequence& sequence) {
  if (!Shares(sequence)) return;
  PrefixIndex& index = pool_.index();
  const int end = std::min(sequence.computed, SharedEnd(sequence));
  while ((sequence.indexed_pages + 1) * kPageTokens <= end) {
    const int page = sequence.indexed_pages;
    const auto tokens =
        absl::MakeConstSpan(sequence.tokens).subspan(page * kPageTokens, kPageTokens);
    if (const auto entry = index.Find(sequence.prefix, tokens)) {
      // Another has computed it meanwhile, or before; the two are equal bit for bit.
      if (pool_.InPage(*entry)) {
        sequence.table.Replace(pool_, page, entry->place);
      } else {
        pool_.Reclaim(*entry, sequence.table.pages()[page]);
      }
      sequence.prefix = entry->id;
    } else if (const auto id = index.Add(sequence.prefix, tokens, sequence.table.pages()[page])) {
      sequence.prefix = *id;
    } else {
      return;
    }
    ++sequence.indexed_pages;
  }
}

Plan Scheduler::Step(absl::Time now) {
  Plan plan;
  Expire(now, plan);
  Budget budget{.tokens = options_.max_step_tokens, .spare_logits = options_.spare_logits};
  const int64_t preemptions = preemptions_;
  PlanDecodes(plan, budget);
  PlanPrefills(plan, budget);
  // Pages that were just taken from one are not for another whose turn it is: those that run need
  // them.
  if (preemptions_ == preemptions) Admit(plan, budget);
  return plan;
}

void Scheduler::Expire(absl::Time now, Plan& plan) {
  for (const auto& [number, sequence] : sequences_) {
    if (now >= sequence->deadline) {
      plan.expired.push_back(
          {number, absl::DeadlineExceededError(
                       sequence->started ? "the deadline passed while the request ran"
                                         : "the deadline passed while the request waited")});
    } else if (!sequence->started && now >= sequence->queue_deadline) {
      plan.expired.push_back(
          {number, WithReason(absl::ResourceExhaustedError(
                                  "the request waited longer than its max_queue_ms"),
                              "QUEUE_TIMEOUT")});
    }
  }
  std::sort(plan.expired.begin(), plan.expired.end(),
            [](const Plan::Expired& a, const Plan::Expired& b) { return a.number < b.number; });
  for (const Plan::Expired& expired : plan.expired) Finish(expired.number);
}

void Scheduler::Preempt(Sequence& sequence) {
  sequence.table.Release(pool_);
  sequence.computed = 0;
  sequence.indexed_pages = 0;
  sequence.prefix = sequence.root;
  sequence.state = SequenceState::kWaiting;
  ++sequence.preemptions;
  ++preemptions_;
  Erase(running_, &sequence);
  Insert(waiting_, &sequence);
}

bool Scheduler::MakeRoom(Sequence& sequence, int tokens) {
  while (!sequence.table.Grow(pool_, tokens).ok()) {
    Sequence* const last = running_.back();
    if (!GoesBefore(sequence, *last)) return false;
    Preempt(*last);
  }
  return true;
}

void Scheduler::AddChunk(Plan& plan, Sequence& sequence, Budget& budget) {
  const int size = static_cast<int>(sequence.tokens.size());
  int tokens = std::min(size - sequence.computed, budget.tokens);
  const int first_logit = sequence.FirstLogit();
  // One of its logits is in everyone's share, the others are spare ones.
  const int most = std::max(first_logit - sequence.computed, 0) + 1 + budget.spare_logits;
  tokens = std::min(tokens, most);
  Plan::Chunk chunk{.sequence = &sequence, .tokens = tokens};
  chunk.samples = sequence.computed + tokens == size;
  if (sequence.Decodes()) chunk.drafts = DraftTokens(sequence, budget);
  chunk.tokens += chunk.drafts;
  chunk.logits =
      std::max(sequence.computed + chunk.tokens - std::max(first_logit, sequence.computed), 0);
  budget.tokens -= chunk.tokens;
  budget.spare_logits -= std::max(chunk.logits - 1, 0);
  plan.chunks.push_back(chunk);
}

int Scheduler::DraftTokens(const Sequence& sequence, const Budget& budget) const {
  const int size = static_cast<int>(sequence.tokens.size());
  const int room = static_cast<int>(sequence.table.pages().size()) * kPageTokens - size;
  return std::max(0, std::min({static_cast<int>(sequence.draft.size()), room, budget.tokens - 1,
                               budget.spare_logits}));
}

void Scheduler::PlanDecodes(Plan& plan, Budget& budget) {
  const std::vector<Sequence*> candidates = running_;  // preemption changes running_
  for (Sequence* const sequence : candidates) {
    if (budget.tokens == 0) return;
    if (sequence->state != SequenceState::kRunning || !sequence->Decodes()) continue;
    if (MakeRoom(*sequence, static_cast<int>(sequence->tokens.size()))) {
      AddChunk(plan, *sequence, budget);
    } else {
      // It goes last of all that hold pages, so nobody has planned around it yet.
      Preempt(*sequence);
    }
  }
}

void Scheduler::PlanPrefills(Plan& plan, Budget& budget) {
  for (Sequence* const sequence : running_) {
    if (budget.tokens == 0) return;
    // Admission took the pages of the whole prompt.
    if (!sequence->Decodes()) AddChunk(plan, *sequence, budget);
  }
}

std::vector<PrefixIndex::Entry> Scheduler::FindPrefix(const Sequence& sequence) const {
  std::vector<PrefixIndex::Entry> found;
  if (!Shares(sequence)) return found;
  const auto tokens = absl::MakeConstSpan(sequence.tokens);
  const int pages =
      std::min(static_cast<int>(tokens.size()) - 1, SharedEnd(sequence)) / kPageTokens;
  PrefixId before = sequence.root;
  for (int page = 0; page < pages; ++page) {
    const auto entry = pool_.index().Find(before, tokens.subspan(page * kPageTokens, kPageTokens));
    if (!entry) break;
    found.push_back(*entry);
    before = entry->id;
  }
  return found;
}

bool Scheduler::WaitsForPages(const Sequence& sequence) const {
  // Up to one page there is nothing to share: the last token is always computed.
  if (!Shares(sequence) || sequence.started || sequence.tokens.size() <= kPageTokens) return false;
  const auto found = sequences_.find(sequence.after);
  if (found == sequences_.end()) return false;
  const Sequence& first = *found->second;
  // One that waits itself may be behind this one.
  return first.state == SequenceState::kRunning && first.tokens.size() == sequence.tokens.size() &&
         first.computed < static_cast<int>(first.tokens.size());
}

bool Scheduler::HasRoom(const Sequence& sequence,
                        absl::Span<const PrefixIndex::Entry> prefix) const {
  // Only with room for all it has: a prompt that starts and then waits for pages would block
  // those behind it. And with a page to grow into for each that then runs, or the next page that
  // an older one needs would throw the newcomer out again, its prompt computed in vain.
  int wanted = BlockTable::PagesFor(static_cast<int>(sequence.tokens.size()));
  // A page that nobody uses counts as free until it is shared; what is in the store needs a page.
  for (const PrefixIndex::Entry& entry : prefix) {
    wanted -= pool_.InPage(entry) && pool_.users(entry.place) > 0;
  }
  const int growth = running_.empty() ? 0 : running() + 1;
  return wanted + growth <= pool_.free_pages();
}

void Scheduler::TakePrefix(Sequence& sequence, absl::Span<const PrefixIndex::Entry> prefix) {
  // First those that are there, or the pages that the others come back to would be theirs.
  for (const PrefixIndex::Entry& entry : prefix) {
    if (pool_.InPage(entry)) pool_.Share(entry.place);
  }
  bool found = true;
  for (const PrefixIndex::Entry& entry : prefix) {
    std::optional<PageId> page;
    if (pool_.InPage(entry)) {
      page = entry.place;
    } else if (found) {
      page = pool_.Restore(entry);
    }
    found = found && page.has_value();
    if (found) {
      sequence.table.Adopt(*page);
      sequence.prefix = entry.id;
      ++sequence.indexed_pages;
    } else if (page.has_value()) {
      pool_.Return(*page);
    }
  }
}

void Scheduler::StartWith(Sequence& sequence, absl::Span<const PrefixIndex::Entry> prefix) {
  TakePrefix(sequence, prefix);
  sequence.computed = sequence.indexed_pages * kPageTokens;
  const int tokens = static_cast<int>(sequence.tokens.size());
  CHECK_OK(sequence.table.Grow(pool_, tokens));
  if (!sequence.started) sequence.cached_prompt_tokens = sequence.computed;
  sequence.started = true;
  sequence.state = SequenceState::kRunning;
  if (Shares(sequence)) prefix_queried_tokens_ += tokens;
  prefix_hit_tokens_ += sequence.computed;
}

Sequence* Scheduler::NextWaiting() const {
  if (fair_share_.active() == 1) return waiting_.front();
  Sequence* next = waiting_.front();
  double least = fair_share_.served(next->tenant);
  for (Sequence* const sequence : waiting_) {
    if (sequence->priority < next->priority) break;
    const double served = fair_share_.served(sequence->tenant);
    if (served >= least) continue;
    least = served;
    next = sequence;
  }
  return next;
}

void Scheduler::Admit(Plan& plan, Budget& budget) {
  while (budget.tokens > 0 && !waiting_.empty() && running() < options_.max_running) {
    Sequence* const sequence = NextWaiting();
    if (WaitsForPages(*sequence)) return;
    const std::vector<PrefixIndex::Entry> prefix = FindPrefix(*sequence);
    // Nobody overtakes the one whose turn it is, or a long prompt would starve.
    if (!HasRoom(*sequence, prefix)) return;
    StartWith(*sequence, prefix);
    Erase(waiting_, sequence);
    Insert(running_, sequence);
    AddChunk(plan, *sequence, budget);
  }
}

}  // namespace transmla
