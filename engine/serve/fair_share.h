// FairShare: which tenant's turn it is, by what each was served (virtual token counters, "Fairness
// in Serving Large Language Models", arXiv 2401.00588, algorithm 2).
//
// A tenant is charged for the tokens that its requests compute, divided by its weight; the one that
// was charged least goes first. One that comes back does not bring credit for the time when it
// asked for nothing: it is lifted to the least of those that are here.
#ifndef TRANSMLA_ENGINE_SERVE_FAIR_SHARE_H_
#define TRANSMLA_ENGINE_SERVE_FAIR_SHARE_H_

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace transmla {

using TenantWeights = absl::flat_hash_map<std::string, double>;

// Thread-compatible. Tenants are names; unnamed requests are one tenant.
class FairShare {
 public:
  // Of a generated token, against one of a prompt: it takes a step of its own (section 4.1 there).
  static constexpr double kGeneratedCost = 2;

  // Weights must be positive; a tenant without one has 1.
  explicit FairShare(TenantWeights weights) : weights_(std::move(weights)) {}

  // A request of the tenant comes, or ends. REQUIRES: as many ends as arrivals at most.
  void Arrive(const std::string& tenant);
  void Leave(const std::string& tenant);
  // REQUIRES: a request of the tenant is here.
  void Charge(const std::string& tenant, double cost);
  // What it was charged so far; less goes first. REQUIRES: a request of the tenant is here.
  double served(const std::string& tenant) const { return tenants_.at(tenant).served; }
  // Tenants with requests.
  int active() const { return active_; }

 private:
  // Remembered, so that nobody gets a fresh start by leaving for a moment.
  static constexpr size_t kMaxIdle = 1024;
  struct Tenant {
    double served = 0;
    int requests = 0;
  };
  void ForgetOne();

  const TenantWeights weights_;
  absl::flat_hash_map<std::string, Tenant> tenants_;
  int active_ = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_SERVE_FAIR_SHARE_H_
