#include "server/operations.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "engine/base/error_reason.h"
#include "engine/base/status.h"
#include "server/limits.h"
#include "server/translate.h"

namespace transmla {
namespace {

constexpr int kDefaultPage = 50;
constexpr int kMaxPage = 1000;

absl::Status UnknownOperation(absl::string_view name) {
  return WithReason(absl::NotFoundError(absl::StrCat(
                        "operation \"", name.substr(0, kMaxRequestIdBytes),
                        "\" does not exist; it never did, or it was deleted or forgotten")),
                    reason::kOperationNotFound);
}

// The number that ends a name "operations/PREFIX-NUMBER"; 0 if there is none.
int64_t NumberOf(absl::string_view name) {
  const size_t dash = name.rfind('-');
  int64_t number = 0;
  if (dash == absl::string_view::npos || !absl::SimpleAtoi(name.substr(dash + 1), &number)) {
    return 0;
  }
  return number;
}

}  // namespace

OperationStore::OperationStore(Clock* clock)
    : clock_(clock), timer_("operations", [this] { WatchTimeouts(); }) {}

OperationStore::~OperationStore() {
  Shutdown();
  timer_.Join();
}

OperationStore::Operation OperationStore::Create(absl::string_view prefix,
                                                 const google::protobuf::Message& metadata) {
  absl::MutexLock lock(&mutex_);
  Forget();
  const int64_t number = next_number_++;
  Entry& entry = entries_[number];
  entry.operation.set_name(absl::StrCat("operations/", prefix, "-", number));
  entry.operation.mutable_metadata()->PackFrom(metadata);
  entry.cancel_requested = stopped_;
  return entry.operation;
}

void OperationStore::Update(const std::string& name, const google::protobuf::Message& metadata) {
  absl::MutexLock lock(&mutex_);
  Entry* const entry = Find(name);
  if (entry == nullptr || entry->operation.done()) return;
  entry->operation.mutable_metadata()->PackFrom(metadata);
}

void OperationStore::Finish(const std::string& name, const google::protobuf::Message& metadata,
                            const absl::StatusOr<google::protobuf::Any>& result) {
  std::vector<Waiter> ready;
  {
    absl::MutexLock lock(&mutex_);
    Entry* const entry = Find(name);
    if (entry == nullptr || entry->operation.done()) return;
    entry->operation.mutable_metadata()->PackFrom(metadata);
    entry->operation.set_done(true);
    if (result.ok()) {
      *entry->operation.mutable_response() = *result;
    } else {
      *entry->operation.mutable_error() = ToRpcStatus(result.status());
    }
    entry->finished = clock_->Now();
    ready = TakeReady();
  }
  Answer(std::move(ready));
}

bool OperationStore::IsCancelRequested(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  const Entry* const entry = Find(name);
  return entry == nullptr || entry->cancel_requested;
}

absl::StatusOr<OperationStore::Operation> OperationStore::Get(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  const Entry* const entry = Find(name);
  if (entry == nullptr) return UnknownOperation(name);
  return entry->operation;
}

absl::StatusOr<google::longrunning::ListOperationsResponse> OperationStore::List(
    int page_size, const std::string& page_token) const {
  if (page_size < 0) {
    return InvalidField("page_size", absl::StrCat("is ", page_size, "; it must not be negative"));
  }
  int64_t after = 0;
  if (!page_token.empty() && (!absl::SimpleAtoi(page_token, &after) || after < 0)) {
    return InvalidField("page_token", "is not one that this server gave");
  }
  const int limit = page_size == 0 ? kDefaultPage : std::min(page_size, kMaxPage);
  google::longrunning::ListOperationsResponse response;
  absl::MutexLock lock(&mutex_);
  for (auto it = entries_.upper_bound(after); it != entries_.end(); ++it) {
    if (response.operations_size() == limit) {
      response.set_next_page_token(absl::StrCat(after));
      break;
    }
    *response.add_operations() = it->second.operation;
    after = it->first;
  }
  return response;
}

absl::Status OperationStore::Cancel(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  Entry* const entry = Find(name);
  if (entry == nullptr) return UnknownOperation(name);
  entry->cancel_requested = true;
  return absl::OkStatus();
}

absl::Status OperationStore::Delete(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  const Entry* const entry = Find(name);
  if (entry == nullptr) return UnknownOperation(name);
  if (!entry->operation.done()) {
    return WithReason(absl::FailedPreconditionError(
                          absl::StrCat("operation \"", name, "\" still runs; cancel it first")),
                      reason::kOperationInProgress);
  }
  entries_.erase(NumberOf(name));
  return absl::OkStatus();
}

void OperationStore::Wait(const std::string& name, absl::Duration timeout,
                          std::function<bool()> is_gone, WaitCallback callback) {
  std::vector<Waiter> ready;
  {
    absl::MutexLock lock(&mutex_);
    waiters_.push_back({name, clock_->Now() + timeout, std::move(is_gone), std::move(callback)});
    ready = TakeReady();
  }
  Answer(std::move(ready));
}

void OperationStore::Shutdown() {
  std::vector<Waiter> ready;
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    for (auto& [number, entry] : entries_) entry.cancel_requested = true;
    ready = TakeReady();
  }
  Answer(std::move(ready));
}

bool OperationStore::IsShutDown() const {
  absl::MutexLock lock(&mutex_);
  return stopped_;
}

const OperationStore::Entry* OperationStore::Find(const std::string& name) const {
  const auto it = entries_.find(NumberOf(name));
  return it != entries_.end() && it->second.operation.name() == name ? &it->second : nullptr;
}

OperationStore::Entry* OperationStore::Find(const std::string& name) {
  return const_cast<Entry*>(std::as_const(*this).Find(name));
}

void OperationStore::Forget() {
  const absl::Time oldest = clock_->Now() - kFinishedOperationLife;
  size_t finished =
      static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& item) {
        return item.second.operation.done();
      }));
  for (auto it = entries_.begin(); it != entries_.end();) {
    const bool old = it->second.finished < oldest || finished > kMaxFinishedOperations;
    if (!it->second.operation.done() || !old) {
      ++it;
      continue;
    }
    it = entries_.erase(it);
    --finished;
  }
}

std::vector<OperationStore::Waiter> OperationStore::TakeReady() {
  const absl::Time now = clock_->Now();
  const auto waits = [&](const Waiter& waiter) {
    const Entry* const entry = Find(waiter.name);
    return !stopped_ && entry != nullptr && !entry->operation.done() && waiter.deadline > now &&
           !waiter.is_gone();
  };
  const auto first_ready = std::stable_partition(waiters_.begin(), waiters_.end(), waits);
  std::vector<Waiter> ready(std::make_move_iterator(first_ready),
                            std::make_move_iterator(waiters_.end()));
  waiters_.erase(first_ready, waiters_.end());
  return ready;
}

void OperationStore::Answer(std::vector<Waiter> waiters) {
  for (const Waiter& waiter : waiters) waiter.callback(Get(waiter.name));
}

void OperationStore::WatchTimeouts() {
  constexpr absl::Duration kResolution = absl::Milliseconds(50);
  while (true) {
    std::vector<Waiter> ready;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&stopped_), kResolution);
      if (stopped_) return;
      ready = TakeReady();
    }
    Answer(std::move(ready));
  }
}

grpc::ServerUnaryReactor* OperationsServiceImpl::ListOperations(
    grpc::CallbackServerContext* context, const google::longrunning::ListOperationsRequest* request,
    google::longrunning::ListOperationsResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<google::longrunning::ListOperationsResponse> list =
      store_->List(request->page_size(), request->page_token());
  if (!request->filter().empty()) {
    list = WithReason(absl::UnimplementedError("filter is not supported; leave it empty"),
                      "FEATURE_NOT_SUPPORTED");
  }
  if (list.ok()) *response = *std::move(list);
  reactor->Finish(ToGrpcStatus(list.status()));
  return reactor;
}

grpc::ServerUnaryReactor* OperationsServiceImpl::GetOperation(
    grpc::CallbackServerContext* context, const google::longrunning::GetOperationRequest* request,
    google::longrunning::Operation* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::StatusOr<OperationStore::Operation> operation = store_->Get(request->name());
  if (operation.ok()) *response = *std::move(operation);
  reactor->Finish(ToGrpcStatus(operation.status()));
  return reactor;
}

grpc::ServerUnaryReactor* OperationsServiceImpl::DeleteOperation(
    grpc::CallbackServerContext* context,
    const google::longrunning::DeleteOperationRequest* request, google::protobuf::Empty*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(store_->Delete(request->name())));
  return reactor;
}

grpc::ServerUnaryReactor* OperationsServiceImpl::CancelOperation(
    grpc::CallbackServerContext* context,
    const google::longrunning::CancelOperationRequest* request, google::protobuf::Empty*) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(store_->Cancel(request->name())));
  return reactor;
}

grpc::ServerUnaryReactor* OperationsServiceImpl::WaitOperation(
    grpc::CallbackServerContext* context, const google::longrunning::WaitOperationRequest* request,
    google::longrunning::Operation* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  absl::Duration timeout = kMaxOperationWait;
  if (request->has_timeout()) {
    timeout =
        absl::Seconds(request->timeout().seconds()) + absl::Nanoseconds(request->timeout().nanos());
    timeout = std::clamp(timeout, absl::ZeroDuration(), kMaxOperationWait);
  }
  // The context lives until Finish, which the callback calls.
  store_->Wait(
      request->name(), timeout, [context] { return context->IsCancelled(); },
      [reactor, response](const absl::StatusOr<OperationStore::Operation>& operation) {
        if (operation.ok()) *response = *operation;
        reactor->Finish(ToGrpcStatus(operation.status()));
      });
  return reactor;
}

}  // namespace transmla
