// Who got which part of the memory that the process may use.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace flashmoe {

enum class Allotted { trunk, kv_cache, delta_state, workspace, expert_cache, read_buffers, program, sessions };
inline constexpr int kAllottedCount = 8;
inline constexpr std::array<const char*, kAllottedCount> kAllottedNames = {
    "trunk", "kv_cache", "delta_state", "workspace", "expert_cache", "read_buffers", "program", "sessions"};

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
