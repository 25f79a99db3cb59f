// Which bytes may this process use? The tightest of what the cgroups, the machine and its resource limits say.
#include <algorithm>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/cgroup.h"
#include "base/kernel_text.h"
#include "memory/budget.h"

namespace flashmoe {
namespace {

uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
uint64_t plus(uint64_t a, uint64_t b) { return checked_add(a, b).value_or(kUnlimited); }

// What this process holds already: limits bound it too, but it is not taken by others.
struct Own {
  uint64_t anonymous = 0, address_space = 0, data = 0;
};

Own read_own(const std::string& root) {
  const std::string status = read_kernel_text(root + "proc/self/status").value_or("");
  return {.anonymous = find_kib(status, "RssAnon").value_or(0),
          .address_space = find_kib(status, "VmSize").value_or(0),
          .data = find_kib(status, "VmData").value_or(0)};
}

struct CgroupFiles {
  const char* limits[2];
  const char* usage;
  const char* file_pages[2];  // lines of memory.stat: page cache, which the kernel takes back when asked for memory
};

constexpr CgroupFiles kV1 = {
    {"memory.limit_in_bytes", nullptr}, "memory.usage_in_bytes", {"total_active_file", "total_inactive_file"}};
constexpr CgroupFiles kV2 = {{"memory.max", "memory.high"}, "memory.current", {"active_file", "inactive_file"}};

void tighten(MemoryLimit& limit, uint64_t bytes, const std::string& source) {
  if (bytes < limit.bytes) limit = {bytes, source};
}

// One cgroup: its limit, less what the other processes in it hold and the kernel cannot take back.
void apply_cgroup(const std::string& root, const std::string& folder, const CgroupFiles& files, const Own& own,
                  MemoryLimit& limit) {
  const std::string real = root + folder + "/";
  const std::string stat = read_kernel_text(real + "memory.stat").value_or("");
  const uint64_t usage = read_number(real + files.usage).value_or(0);
  uint64_t reclaimable = 0;
  for (const char* line : files.file_pages) reclaimable = plus(reclaimable, find_number(stat, line).value_or(0));
  const uint64_t others = minus(minus(usage, reclaimable), own.anonymous);
  for (const char* name : files.limits) {
    const auto bytes = name == nullptr ? std::nullopt : read_number(real + name);
    // v1 writes "no limit" as the largest multiple of the page size in a signed 64-bit number.
    if (bytes && *bytes < uint64_t{1} << 60) tighten(limit, minus(*bytes, others), "cgroup /" + folder + " " + name);
  }
  // v1 tells the tightest of all ancestors here, those a container cannot see included.
  const auto ancestors = find_number(stat, "hierarchical_memory_limit");
  if (ancestors && *ancestors < uint64_t{1} << 60) {
    tighten(limit, minus(*ancestors, others), "cgroup /" + folder + " memory.stat hierarchical_memory_limit");
  }
}

void apply_machine(const std::string& root, const Own& own, MemoryLimit& limit) {
  const std::string meminfo = read_kernel_text(root + "proc/meminfo").value_or("");
  if (const auto available = find_kib(meminfo, "MemAvailable")) {
    tighten(limit, plus(*available, own.anonymous), "available memory");
  } else if (const auto total = find_kib(meminfo, "MemTotal")) {
    tighten(limit, *total, "installed memory");
  }
}

void apply_resource_limits(const std::string& root, const Own& own, MemoryLimit& limit) {
  const std::string limits = read_kernel_text(root + "proc/self/limits").value_or("");
  const auto apply = [&](const char* key, uint64_t in_use, const char* source) {
    const auto bytes = find_number(limits, key);
    if (bytes && *bytes < kUnlimited) tighten(limit, minus(*bytes, minus(in_use, own.anonymous)), source);
  };
  apply("Max address space", own.address_space, "address space limit (ulimit -v)");
  apply("Max data size", own.data, "data size limit (ulimit -d)");
}

}  // namespace

MemoryLimit detect_memory_limit(const std::string& root) {
  const std::string base = root.ends_with('/') ? root : root + "/";
  const Own own = read_own(base);
  MemoryLimit limit{kUnlimited, "no limit found"};
  apply_machine(base, own, limit);
  for (const Cgroup& group : cgroups_with("memory", base)) {
    apply_cgroup(base, group.folder, group.v2 ? kV2 : kV1, own, limit);
  }
  apply_resource_limits(base, own, limit);
  return limit;
}

}  // namespace flashmoe
