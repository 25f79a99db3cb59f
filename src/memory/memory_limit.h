// How much memory the process may use, and who says so.
#pragma once

#include <cstdint>
#include <string>

namespace flashmoe {

struct MemoryLimit {
  uint64_t bytes = 0;
  std::string source;  // "cgroup /sys/fs/cgroup/memory/x", "available memory", "data size limit (ulimit -d)"
};

// The smallest of: cgroup v1 and v2 limits over all ancestors (less what other processes of that cgroup hold), the
// memory the machine has available, and the process's limits of address space and data size. `root` replaces "/" in
// tests (proc/self, sys/fs/cgroup, proc/meminfo).
MemoryLimit detect_memory_limit(const std::string& root = "/");

}  // namespace flashmoe
