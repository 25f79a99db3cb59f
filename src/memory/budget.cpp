#include "memory/budget.h"

#include "base/check.h"

namespace flashmoe {

bool Budget::claim(Allotted what, uint64_t bytes) {
  std::atomic<uint64_t>& used = used_[index(what)];
  uint64_t before = used.load();
  do {
    const uint64_t allotted_bytes = allotted_[index(what)].load();
    if (before > allotted_bytes || bytes > allotted_bytes - before) return false;
  } while (!used.compare_exchange_weak(before, before + bytes));
  return true;
}

void Budget::release(Allotted what, uint64_t bytes) {
  const uint64_t before = used_[index(what)].fetch_sub(bytes);
  CHECK(before >= bytes);
}

}  // namespace flashmoe
