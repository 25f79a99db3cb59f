#include "memory/memory_limit.h"

#include <sys/resource.h>
#include <sys/sysinfo.h>

#include <algorithm>
#include <optional>

#include "base/address_space.h"
#include "base/bytes.h"
#include "base/cgroup.h"
#include "base/kernel_text.h"
#include "memory/cgroup_files.h"

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

void tighten(MemoryLimit& limit, uint64_t bytes, const std::string& source) {
  if (bytes >= limit.bytes) return;
  limit.bytes = bytes;
  limit.source = source;
}

// One cgroup: its limit, less what the other processes in it hold and the kernel cannot take back.
void apply_cgroup(const std::string& root, const Cgroup& cgroup, const Own& own, MemoryLimit& limit) {
  const CgroupFiles& files = files_of(cgroup);
  const std::string name = "cgroup /" + cgroup.folder, folder = root + cgroup.folder + "/";
  const std::string stat = read_kernel_text(folder + "memory.stat").value_or("");
  const uint64_t usage = read_number(folder + files.usage).value_or(0);
  uint64_t reclaimable = 0;
  for (const char* line : files.file_pages) reclaimable = plus(reclaimable, find_number(stat, line).value_or(0));
  const uint64_t others = minus(minus(usage, reclaimable), own.anonymous);
  for (const char* file : files.limits) {
    const auto bytes = file == nullptr ? std::nullopt : limit_in(read_number(folder + file));
    if (bytes) tighten(limit, minus(*bytes, others), name + " " + file);
  }
  if (const auto bytes = limit_in(find_number(stat, kHierarchicalLimit))) {
    tighten(limit, minus(*bytes, others), name + " memory.stat " + kHierarchicalLimit);
  }
}

void apply_machine(const std::string& root, const Own& own, const KernelMemory& kernel, MemoryLimit& limit) {
  const std::string meminfo = read_kernel_text(root + "proc/meminfo").value_or("");
  if (const auto available = find_kib(meminfo, "MemAvailable")) {
    tighten(limit, plus(*available, own.anonymous), "available memory");
  } else if (const auto total = find_kib(meminfo, "MemTotal")) {
    tighten(limit, *total, "installed memory");
  } else if (kernel.free_bytes) {
    tighten(limit, plus(*kernel.free_bytes, own.anonymous), "free memory");
  } else if (kernel.total_bytes) {
    tighten(limit, *kernel.total_bytes, "installed memory");
  }
}

void apply_resource_limits(const std::string& root, const Own& own, const KernelMemory& kernel, uint64_t mapped_later,
                           MemoryLimit& limit) {
  const auto limits = read_kernel_text(root + "proc/self/limits");
  const auto apply = [&](const char* key, std::optional<uint64_t> told, uint64_t in_use, const char* source) {
    const auto bytes = limits ? find_number(*limits, key) : told;
    if (!bytes || *bytes >= kUnlimited) return;
    const uint64_t left = minus(*bytes, minus(in_use, own.anonymous));
    limit.mappable_bytes = std::min(limit.mappable_bytes, left);
    tighten(limit, left, source);
  };
  apply("Max address space", kernel.address_space, plus(own.address_space, mapped_later),
        "address space limit (ulimit -v)");
  apply("Max data size", kernel.data_size, own.data, "data size limit (ulimit -d)");
}

std::optional<uint64_t> data_size_limit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return limit.rlim_cur;
}

}  // namespace

KernelMemory ask_kernel() {
  KernelMemory told{.address_space = address_space_limit(), .data_size = data_size_limit()};
  struct sysinfo info = {};
  if (sysinfo(&info) != 0) return told;
  told.free_bytes = (uint64_t{info.freeram} + info.bufferram) * info.mem_unit;
  told.total_bytes = uint64_t{info.totalram} * info.mem_unit;
  return told;
}

MemoryLimit detect_memory_limit(uint64_t mapped_later) { return detect_memory_limit("/", ask_kernel(), mapped_later); }

MemoryLimit detect_memory_limit(const std::string& root, const KernelMemory& kernel, uint64_t mapped_later) {
  const std::string base = root.ends_with('/') ? root : root + "/";
  const Own own = read_own(base);
  MemoryLimit limit{.bytes = kUnlimited, .source = "no limit found"};
  apply_machine(base, own, kernel, limit);
  for (const Cgroup& group : cgroups_with("memory", base)) {
    apply_cgroup(base, group, own, limit);
  }
  apply_resource_limits(base, own, kernel, mapped_later, limit);
  return limit;
}

}  // namespace flashmoe
