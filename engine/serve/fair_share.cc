#include "engine/serve/fair_share.h"

#include <algorithm>
#include <limits>

#include "engine/base/check.h"

namespace transmla {

void FairShare::Arrive(const std::string& tenant) {
  Tenant& arrived = tenants_[tenant];
  if (arrived.requests++ > 0) return;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [name, other] : tenants_) {
    if (&other != &arrived && other.requests > 0) least = std::min(least, other.served);
  }
  if (active_++ > 0) arrived.served = std::max(arrived.served, least);
}

void FairShare::Leave(const std::string& tenant) {
  Tenant& left = tenants_.at(tenant);
  CHECK_GT(left.requests, 0);
  if (--left.requests > 0) return;
  --active_;
  if (tenants_.size() > kMaxIdle + static_cast<size_t>(active_)) ForgetOne();
}

void FairShare::ForgetOne() {
  // The one that was served least would be lifted first in any case.
  auto least = tenants_.end();
  for (auto at = tenants_.begin(); at != tenants_.end(); ++at) {
    if (at->second.requests > 0) continue;
    if (least == tenants_.end() || at->second.served < least->second.served) least = at;
  }
  tenants_.erase(least);
}

void FairShare::Charge(const std::string& tenant, double cost) {
  const auto weight = weights_.find(tenant);
  tenants_.at(tenant).served += weight == weights_.end() ? cost : cost / weight->second;
}

}  // namespace transmla
