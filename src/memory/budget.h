// How much memory the process may use, and who got which part of it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace flashmoe {

enum class Allotted { trunk, kv_cache, delta_state, workspace, expert_cache, read_buffers, program, sessions };
inline constexpr int kAllottedCount = 8;
inline constexpr std::array<const char*, kAllottedCount> kAllottedNames = {
    "trunk", "kv_cache", "delta_state", "workspace", "expert_cache", "read_buffers", "program", "sessions"};

// Bytes the process may use in all, and who says so.
struct MemoryLimit {
  uint64_t bytes = 0;
  std::string source;  // "cgroup /sys/fs/cgroup/memory/x", "available memory"
};

// The smallest of: cgroup v1 and v2 limits over all ancestors (less what other processes of that cgroup hold), and the
// memory the machine has available. `root` replaces "/" in tests (proc/self/cgroup, sys/fs/cgroup, proc/meminfo).
MemoryLimit detect_memory_limit(const std::string& root = "/");

// Named allotments that Buffers draw from. Thread-safe.
class Budget {
 public:
  void allot(Allotted what, uint64_t bytes) { allotted_[index(what)] = bytes; }
  // Takes bytes from an allotment; false (and nothing taken) if it has too few left.
  [[nodiscard]] bool claim(Allotted what, uint64_t bytes);
  void release(Allotted what, uint64_t bytes);
  uint64_t allotted(Allotted what) const { return allotted_[index(what)]; }
  uint64_t used(Allotted what) const { return used_[index(what)]; }

 private:
  static size_t index(Allotted what) { return static_cast<size_t>(what); }
  std::array<std::atomic<uint64_t>, kAllottedCount> allotted_{};
  std::array<std::atomic<uint64_t>, kAllottedCount> used_{};
};

}  // namespace flashmoe
