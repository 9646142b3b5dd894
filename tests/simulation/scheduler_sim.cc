#include "tests/simulation/scheduler_sim.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace transmla {
namespace {

constexpr int kMaxLive = 40;
constexpr int32_t kVocabulary = 1 << 20;  // large: a wrong token is not right by chance
constexpr uint64_t kEmpty = 0;            // the hash of no tokens
constexpr int kBeginnings = 6;

}  // namespace

SchedulerOptions SchedulerSim::DrawOptions(Random& random) {
  constexpr int kBudgets[] = {1, 3, 17, 64, 100, 512};
  return {.max_step_tokens = kBudgets[random.Below(6)],
          .max_running = static_cast<int>(1 + random.Below(12)),
          .spare_logits = static_cast<int>(random.Below(20)),
          .pages = static_cast<int>(1 + random.Below(40)),
          .prefix_cache = random.Below(5) != 0,
          .expanded_block = static_cast<int>(random.Below(3)) * kPageTokens,
          .tenant_weights = {{"b", 3}}};
}

SchedulerSim::SchedulerSim(uint64_t seed)
    : random_(seed),
      options_(DrawOptions(random_)),
      slots_(random_.Below(2) == 0 ? 0 : kPageTokens * random_.Below(60)),
      most_drafts_(random_.Below(2) == 0 ? 0 : 7),
      scheduler_(options_, slots_.empty() ? nullptr : this),
      cells_(static_cast<size_t>(options_.pages) * kPageTokens),
      beginnings_(kBeginnings) {}

void SchedulerSim::Expect(bool holds, const char* what) {
  if (!holds && failure_.empty()) {
    failure_ = absl::StrCat("step ", counts_.steps, ": ", what, " (", options_.pages, " pages, ",
                            options_.max_running, " may run, ", options_.max_step_tokens,
                            " tokens a step)");
  }
}

uint64_t SchedulerSim::Chain(uint64_t before, int32_t token, bool expanded) {
  return Random(before).Split(static_cast<uint64_t>(token) + (expanded ? kVocabulary : 0))();
}

bool SchedulerSim::IsExpanded(int prompt, int position) const {
  const int block = options_.expanded_block;
  if (block == 0 || position < block) return false;
  return position / block < prompt / block;
}

uint64_t& SchedulerSim::Cell(const Sequence& sequence, int position) {
  const PageId page = sequence.table.pages()[position / kPageTokens];
  return cells_[static_cast<size_t>(page) * kPageTokens + position % kPageTokens];
}

std::vector<int32_t> SchedulerSim::DrawPrompt(int size) {
  std::vector<int32_t> prompt;
  std::vector<int32_t>& beginning = beginnings_[random_.Below(kBeginnings)];
  if (random_.Below(3) != 0) {
    // All of it, or what both have in common with a prompt that turns elsewhere.
    prompt = beginning;
    if (random_.Below(3) == 0 && !prompt.empty()) prompt.resize(random_.Below(prompt.size()) + 1);
    if (static_cast<int>(prompt.size()) > size) prompt.resize(size);
  }
  while (static_cast<int>(prompt.size()) < size)
    prompt.push_back(static_cast<int32_t>(random_.Below(kVocabulary)));
  if (random_.Below(4) == 0) beginning = prompt;
  return prompt;
}

void SchedulerSim::Repeat(const Request& request, Sequence& sequence) {
  sequence.tokens.assign(request.tokens.begin(), request.tokens.begin() + request.prompt);
  sequence.after = request.sequence->number;
  sequence.priority = request.sequence->priority + static_cast<int>(random_.Below(3)) - 1;
}

void SchedulerSim::Arrive() {
  const int capacity = options_.pages * kPageTokens;
  auto sequence = std::make_unique<Sequence>();
  sequence->number = next_number_++;
  Request request;
  // Now and then one that needs the whole cache.
  const uint64_t size = random_.Below(4) == 0 ? capacity : std::min(capacity, 300);
  request.longest =
      static_cast<int>(random_.Below(20) == 0 ? capacity : 2 + random_.Below(size - 1));
  sequence->tokens = DrawPrompt(static_cast<int>(1 + random_.Below(request.longest - 1)));
  if (random_.Below(3) == 0) sequence->priority = static_cast<int>(random_.Below(5)) - 2;
  if (!live_.empty() && random_.Below(8) == 0) {
    auto other = live_.begin();
    std::advance(other, random_.Below(live_.size()));
    Repeat(other->second, *sequence);
    request.longest = std::max(request.longest, static_cast<int>(sequence->tokens.size()) + 1);
  }
  request.prompt = static_cast<int>(sequence->tokens.size());
  if (random_.Below(3) == 0) sequence->tenant = std::string(1, random_.Below(2) == 0 ? 'a' : 'b');
  if (random_.Below(10) == 0) sequence->prompt_logits = request.prompt - 1;
  if (random_.Below(4) == 0) sequence->root = (uint64_t{1} << 63) + random_.Below(2);
  sequence->prefix_cache = random_.Below(10) != 0;
  for (int i = 0; i < request.prompt; ++i) {
    request.hashes.push_back(Chain(request.hashes.empty() ? kEmpty : request.hashes.back(),
                                   sequence->tokens[i], IsExpanded(request.prompt, i)));
  }
  request.tokens = sequence->tokens;
  if (random_.Below(8) == 0) sequence->deadline = now_ + absl::Milliseconds(random_.Below(20000));
  if (random_.Below(8) == 0)
    sequence->queue_deadline = now_ + absl::Milliseconds(random_.Below(5000));
  const uint64_t number = sequence->number;
  request.deadline = sequence->deadline;
  request.queue_deadline = sequence->queue_deadline;
  request.sequence = scheduler_.Add(std::move(sequence));
  live_[number] = std::move(request);
  ++counts_.arrived;
}

void SchedulerSim::CancelOne() {
  const uint64_t any = random_.Below(next_number_);
  if (!live_.contains(any)) scheduler_.Finish(any);  // ended, or never there: ignored
  if (live_.empty()) return;
  auto found = live_.begin();
  std::advance(found, random_.Below(live_.size()));
  scheduler_.Finish(found->first);
  Forget(found->first);
  ++counts_.cancelled;
}

void SchedulerSim::Forget(uint64_t number) {
  Expect(live_.erase(number) == 1, "a request ended twice");
  last_end_ = counts_.steps;
}

void SchedulerSim::CheckTime(const Plan& plan) {
  for (const Plan::Expired& expired : plan.expired) {
    const auto found = live_.find(expired.number);
    if (found == live_.end()) return Expect(false, "a request ended twice");
    const Request& request = found->second;
    if (absl::IsDeadlineExceeded(expired.status)) {
      Expect(request.deadline <= now_, "a request ended before its deadline");
      ++counts_.out_of_time;
    } else {
      Expect(absl::IsResourceExhausted(expired.status), "a request expired with another status");
      Expect(request.queue_deadline <= now_ && !request.started,
             "a request left the queue too early");
      ++counts_.out_of_queue_time;
    }
    Forget(expired.number);
  }
  for (const auto& [number, request] : live_) {
    Expect(now_ < request.deadline, "a request outlived its deadline");
    Expect(request.started || now_ < request.queue_deadline, "a request waited too long");
  }
  Expect(static_cast<int>(live_.size()) == scheduler_.running() + scheduler_.waiting(),
         "a request is lost");
}

void SchedulerSim::CheckPages() {
  std::vector<int> owners(options_.pages, 0);
  int used = 0;
  for (const Sequence* sequence : scheduler_.running_sequences()) {
    Expect(sequence->state == SequenceState::kRunning, "a running sequence has another state");
    Expect(BlockTable::PagesFor(sequence->computed) <=
               static_cast<int>(sequence->table.pages().size()),
           "a computed token has no page");
    int index = 0;
    for (const PageId page : sequence->table.pages()) {
      used += owners[page]++ == 0;
      if (index++ < sequence->indexed_pages) continue;
      Expect(!scheduler_.pool().index().Has(page), "a page that may be written can be found");
      Expect(scheduler_.pool().users(page) == 1, "a page that may be written is shared");
    }
    Expect(sequence->indexed_pages * kPageTokens <= sequence->computed,
           "a page can be found before it is full");
  }
  for (PageId page = 0; page < options_.pages; ++page)
    Expect(scheduler_.pool().users(page) == owners[page], "the users of a page are miscounted");
  for (const Sequence* sequence : scheduler_.waiting_sequences()) {
    Expect(sequence->state == SequenceState::kWaiting, "a waiting sequence has another state");
    Expect(sequence->table.pages().empty() && sequence->computed == 0,
           "a waiting sequence holds pages");
  }
  Expect(used == scheduler_.pool().used_pages(), "a page is leaked");
  Expect(std::count_if(owners.begin(), owners.end(), [](int n) { return n > 1; }) ==
             scheduler_.pool().shared_pages(),
         "the shared pages are miscounted");
}

void SchedulerSim::CheckOrder(const std::vector<uint64_t>& before, int64_t preemptions) {
  const auto& running = scheduler_.running_sequences();
  const auto& waiting = scheduler_.waiting_sequences();
  const auto in_order = [](const Sequence* a, const Sequence* b) { return GoesBefore(*a, *b); };
  Expect(std::is_sorted(running.begin(), running.end(), in_order), "running out of order");
  Expect(std::is_sorted(waiting.begin(), waiting.end(), in_order), "waiting out of order");
  Expect(scheduler_.running() <= options_.max_running, "too many run");
  bool first = true;
  int64_t preempted = 0;
  for (const uint64_t number : before) {
    const auto found = live_.find(number);
    if (found == live_.end()) continue;
    const Sequence& sequence = *found->second.sequence;
    if (sequence.state == SequenceState::kWaiting) {
      ++preempted;
      Expect(!first, "the first in order was preempted");
      Expect(!running.empty() && GoesBefore(*running.back(), sequence),
             "another than the last was preempted");
      // A page is full after so many steps at the earliest.
      Expect(counts_.steps - last_admission_ >= kPageTokens / (1 + most_drafts_),
             "preempted soon after an admission");
    }
    first = false;
  }
  Expect(preempted == preemptions, "preempted and admitted in one step");
  for (const Sequence* sequence : running) {
    if (std::find(before.begin(), before.end(), sequence->number) != before.end()) continue;
    last_admission_ = counts_.steps;
    for (const Sequence* other : waiting) {
      if (GoesBefore(*sequence, *other)) break;
      Expect(other->priority == sequence->priority && other->tenant != sequence->tenant,
             "overtaken in the queue");
      ++counts_.other_turns;
    }
  }
}

void SchedulerSim::CheckPlan(const Plan& plan) {
  Expect(plan.TotalTokens() <= options_.max_step_tokens, "over the token budget");
  int logits = 0;
  for (const Plan::Chunk& chunk : plan.chunks) logits += std::max(chunk.logits - 1, 0);
  Expect(logits <= options_.spare_logits, "more logits than there is room for");
  Expect(!plan.chunks.empty() || scheduler_.idle(), "a step without progress");
  std::vector<const Sequence*> planned;
  bool decodes = false, prompts = false;
  for (const Plan::Chunk& chunk : plan.chunks) {
    const Sequence& sequence = *chunk.sequence;
    const auto& running = scheduler_.running_sequences();
    Expect(std::find(running.begin(), running.end(), chunk.sequence) != running.end(),
           "a planned sequence does not run");
    Expect(std::find(planned.begin(), planned.end(), chunk.sequence) == planned.end(),
           "planned twice");
    planned.push_back(chunk.sequence);
    const int end = sequence.computed + chunk.tokens;
    const int size = static_cast<int>(sequence.tokens.size());
    Expect(chunk.tokens > chunk.drafts && end - chunk.drafts <= size, "a chunk out of range");
    Expect(chunk.samples == (end - chunk.drafts == size), "samples at another than the last token");
    Expect(chunk.drafts == 0 || (sequence.Decodes() && chunk.logits == chunk.drafts + 1),
           "a draft that cannot be checked");
    Expect(!chunk.samples || chunk.logits > chunk.drafts, "a token without its logits");
    Expect(BlockTable::PagesFor(end) <= static_cast<int>(sequence.table.pages().size()),
           "a planned token has no page");
    (sequence.Decodes() ? decodes : prompts) = true;
  }
  counts_.mixed_steps += decodes && prompts;
}

void SchedulerSim::Compute(const Plan::Chunk& chunk) {
  const Sequence& sequence = *chunk.sequence;
  Request& request = live_.at(sequence.number);
  request.started = true;
  const int size = static_cast<int>(sequence.tokens.size());
  for (int i = sequence.computed; i < sequence.computed + chunk.tokens; ++i) {
    const uint64_t before = i == 0 ? kEmpty : Cell(sequence, i - 1);
    const bool expanded = sequence.expanded_begin <= i && i < sequence.expanded_end;
    counts_.expanded_tokens += expanded;
    Cell(sequence, i) =
        Chain(before, i < size ? sequence.tokens[i] : sequence.draft[i - size], expanded);
  }
  counts_.kept_steps += scheduler_.pool().kept_pages() > 0;
  const int any = static_cast<int>(random_.Below(sequence.computed + chunk.tokens - chunk.drafts));
  Expect(Cell(sequence, any) == request.hashes[any], "a cell was overwritten");
}

bool SchedulerSim::Save(PageId page, int slot) {
  if (random_.Below(20) == 0) {
    ++counts_.failed_stores;
    return false;
  }
  std::copy_n(cells_.begin() + page * kPageTokens, kPageTokens,
              slots_.begin() + slot * kPageTokens);
  return true;
}

bool SchedulerSim::Load(int slot, PageId page) {
  if (random_.Below(20) == 0) {
    // Half of it came, say.
    std::fill_n(cells_.begin() + page * kPageTokens, kPageTokens / 2, 0);
    ++counts_.failed_stores;
    return false;
  }
  std::copy_n(slots_.begin() + slot * kPageTokens, kPageTokens,
              cells_.begin() + page * kPageTokens);
  ++counts_.restored_pages;
  return true;
}

void SchedulerSim::Draft() {
  for (Sequence* const sequence : scheduler_.running_sequences()) {
    sequence->draft.clear();
    if (!sequence->Decodes() || most_drafts_ == 0 || random_.Below(4) != 0) continue;
    // What will come, up to a point.
    uint64_t hash = live_.at(sequence->number).hashes.back();
    const uint64_t right = random_.Below(4);
    const uint64_t size = random_.Below(most_drafts_ + 1);
    for (uint64_t i = 0; i < size; ++i) {
      const auto token =
          static_cast<int32_t>(i < right ? hash % kVocabulary : random_.Below(kVocabulary));
      sequence->draft.push_back(token);
      hash = Chain(hash, token);
    }
  }
}

void SchedulerSim::CheckPromptLogits(const Plan::Chunk& chunk, int first) {
  Request& request = live_.at(chunk.sequence->number);
  const int rows = std::min(chunk.sequence->prompt_logits - first, chunk.logits);
  if (rows <= 0) return;
  Expect(first == request.prompt_logits, "a prompt's logits are not one after the other");
  request.prompt_logits += rows;
  counts_.prompt_logits += rows;
}

bool SchedulerSim::TakeToken(uint64_t number, int32_t token) {
  Request& request = live_.at(number);
  const Sequence& sequence = *request.sequence;
  Expect(token == static_cast<int32_t>(request.hashes.back() % kVocabulary),
         "another token than alone");
  if (random_.Below(3000) == 0) {  // as if its logits were broken
    scheduler_.Finish(number);
    Forget(number);
    ++counts_.cancelled;
    return false;
  }
  scheduler_.Append(number, token);
  request.tokens.push_back(token);
  request.hashes.push_back(Chain(request.hashes.back(), token));
  if (static_cast<int>(request.tokens.size()) < request.longest) return true;
  Expect(sequence.tokens == request.tokens, "another text than alone");
  Expect(request.prompt_logits == sequence.prompt_logits, "logits of the prompt are missing");
  if (random_.Below(3) == 0)  // the chat goes on
    beginnings_[random_.Below(kBeginnings)] = sequence.tokens;
  ++counts_.completed;
  counts_.completed_after_preemption += sequence.preemptions > 0;
  scheduler_.Finish(number);
  Forget(number);
  return false;
}

void SchedulerSim::Sample(const Plan::Chunk& chunk) {
  Sequence& sequence = *chunk.sequence;
  const uint64_t number = sequence.number;
  counts_.draft_tokens += chunk.drafts;
  for (int row = 0;; ++row) {
    const int last = static_cast<int>(sequence.tokens.size()) - 1;
    const auto token = static_cast<int32_t>(Cell(sequence, last) % kVocabulary);
    const bool guessed = row < chunk.drafts && sequence.draft[row] == token;
    if (!TakeToken(number, token) || !guessed) return;
    scheduler_.AcceptDraft(number);
    ++counts_.accepted_draft_tokens;
  }
}

void SchedulerSim::Step() {
  ++counts_.steps;
  now_ += absl::Milliseconds(1 + random_.Below(50));
  std::vector<uint64_t> before;
  for (const Sequence* sequence : scheduler_.running_sequences())
    before.push_back(sequence->number);
  const int64_t preemptions = scheduler_.preemptions();
  Draft();
  const Plan plan = scheduler_.Step(now_);
  for (const Plan::Chunk& chunk : plan.chunks) {
    const Sequence& sequence = *chunk.sequence;
    Request& request = live_.at(sequence.number);
    if (!request.started) {
      counts_.expanded_hit_tokens +=
          std::max(0, std::min(sequence.computed, sequence.expanded_end) - sequence.expanded_begin);
    }
    request.started = true;
  }
  CheckTime(plan);
  CheckPages();
  CheckOrder(before, scheduler_.preemptions() - preemptions);
  CheckPlan(plan);
  if (!failure_.empty()) return;
  for (const Plan::Chunk& chunk : plan.chunks) Compute(chunk);
  scheduler_.Computed(plan);
  for (const Plan::Chunk& chunk : plan.chunks) {
    CheckPromptLogits(chunk, chunk.sequence->computed + chunk.drafts - chunk.logits);
    if (chunk.samples) Sample(chunk);
  }
  CheckPages();
}

std::string SchedulerSim::Drain() {
  // Whoever goes first among all waits at most for those that run, and once it runs only their
  // decodes go before it: it ends within three times all the tokens that there can be.
  int64_t tokens = 0;
  for (const auto& [number, request] : live_) tokens += request.longest;
  last_end_ = counts_.steps;
  while (!live_.empty() && failure_.empty()) {
    Step();
    Expect(counts_.steps - last_end_ <= 3 * tokens, "nobody ends: starved");
  }
  Expect(scheduler_.idle() && scheduler_.pool().used_pages() == 0, "pages are left at the end");
  counts_.preemptions = scheduler_.preemptions();
  counts_.queried_tokens = scheduler_.prefix_queried_tokens();
  counts_.hit_tokens = scheduler_.prefix_hit_tokens();
  return failure_;
}

std::string SchedulerSim::Run(int64_t steps) {
  while (counts_.steps < steps && failure_.empty()) {
    // Rushes and quiet times, so that the cache is now overfull and now empty.
    if (random_.Below(500) == 0)
      arrival_rate_ = random_.Below(3) == 0 ? 0 : 0.2 * random_.Uniform();
    if (random_.Uniform() < arrival_rate_ && live_.size() < kMaxLive) Arrive();
    if (random_.Below(200) == 0) CancelOne();
    Step();
  }
  return Drain();
}

}  // namespace transmla
