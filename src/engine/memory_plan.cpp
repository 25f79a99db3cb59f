#include "flashmoe/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"

namespace flashmoe {

uint64_t MemoryPlan::given(std::string_view name) const {
  const auto found = std::ranges::find(allotments, name, &Allotment::name);
  return found == allotments.end() ? 0 : found->bytes;
}

uint64_t MemoryPlan::budget_bytes() const {
  uint64_t total = 0;
  for (const Allotment& a : allotments) total += a.bytes;
  return total;
}

uint64_t MemoryPlan::spare_bytes() const { return limit_bytes - std::min(limit_bytes, budget_bytes()); }

double MemoryPlan::cached_share(int64_t n_tokens) const {
  if (experts_resident) return 1;
  const uint64_t kept = std::min(lent_bytes, kv_bytes_per_token * static_cast<uint64_t>(n_tokens));
  const uint64_t bytes = given("expert_cache") + lent_bytes - kept;
  return std::min(1.0, static_cast<double>(bytes) / static_cast<double>(experts_total_bytes));
}

std::string MemoryPlan::table() const {
  std::string text = fmt::format("  {:<14} {:>10} {:>10}\n", "memory", "planned", "at least");
  for (const Allotment& a : allotments) {
    text += fmt::format("  {:<14} {:>10} {:>10}\n", a.name, human_bytes(a.bytes), human_bytes(a.floor_bytes));
  }
  text += fmt::format("  {:<14} {:>10} {:>10}\n", "total", human_bytes(budget_bytes()), human_bytes(floor_bytes));
  text += fmt::format("  {:<14} {:>10}   ({})", "limit", human_bytes(limit_bytes), limit_source);
  return text;
}

}  // namespace flashmoe
