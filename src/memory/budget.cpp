#include "memory/budget.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace flashmoe {

void Budget::allot(Allotted what, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  allotted_[index(what)] = bytes;
}

uint64_t Budget::limit(Allotted what) const {
  uint64_t bytes = allotted_[index(what)];
  if (what != Allotted::expert_cache) return bytes;
  uint64_t claimed = 0;
  for (const Allotted lender : kLenders) claimed += used_[index(lender)];
  return bytes + (lent_ - std::min(lent_, claimed));
}

bool Budget::claim(Allotted what, uint64_t bytes) {
  std::unique_lock lock(mutex_);
  const uint64_t most = limit(what);
  if (used_of(what) > most || bytes > most - used_of(what)) return false;
  used_of(what) += bytes;
  const auto too_much_lent = [this] { return used_of(Allotted::expert_cache) > limit(Allotted::expert_cache); };
  if (!too_much_lent()) return true;
  const auto give_back = give_back_;
  lock.unlock();
  try {
    if (give_back) give_back();
  } catch (...) {
    release(what, bytes);
    throw;
  }
  lock.lock();
  CHECK(!too_much_lent());
  return true;
}

void Budget::release(Allotted what, uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  CHECK(used_of(what) >= bytes);
  used_of(what) -= bytes;
}

uint64_t Budget::allotted(Allotted what) const {
  const std::lock_guard lock(mutex_);
  return allotted_[index(what)];
}

uint64_t Budget::used(Allotted what) const {
  const std::lock_guard lock(mutex_);
  return used_[index(what)];
}

bool Budget::lends() const {
  const std::lock_guard lock(mutex_);
  return lent_ > 0;
}

void Budget::lend(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  lent_ = bytes;
}

uint64_t Budget::expert_cache_limit() const {
  const std::lock_guard lock(mutex_);
  return limit(Allotted::expert_cache);
}

uint64_t Budget::expert_cache_most() const {
  const std::lock_guard lock(mutex_);
  return allotted_[index(Allotted::expert_cache)] + lent_;
}

void Budget::set_give_back(std::function<void()> give_back) {
  const std::lock_guard lock(mutex_);
  give_back_ = std::move(give_back);
}

}  // namespace flashmoe
