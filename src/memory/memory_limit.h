// How much memory the process may use, and who says so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace flashmoe {

struct MemoryLimit {
  uint64_t bytes = 0;
  std::string source;  // "cgroup /sys/fs/cgroup/memory/x", "available memory", "data size limit (ulimit -d)"
  // What the process may map, used or not: what its own limits leave.
  uint64_t mappable_bytes = ~uint64_t{0};
};

// What system calls tell where there is no /proc.
struct KernelMemory {
  std::optional<uint64_t> free_bytes = {};                     // the page cache is no part of it
  std::optional<uint64_t> total_bytes = {};                    // installed
  std::optional<uint64_t> address_space = {}, data_size = {};  // limits of this process
};

KernelMemory ask_kernel();

// The smallest of: cgroup v1 and v2 limits over all ancestors (less what other processes of that cgroup hold), the
// memory the machine has available, and the process's limits of address space and data size. `root` replaces "/" in
// tests (proc/self, sys/fs/cgroup, proc/meminfo), and `kernel` what is asked for where files below it tell nothing.
// `mapped_later`: address space that will be taken without being memory, as stacks are.
MemoryLimit detect_memory_limit(const std::string& root, const KernelMemory& kernel, uint64_t mapped_later = 0);
MemoryLimit detect_memory_limit(uint64_t mapped_later = 0);

}  // namespace flashmoe
