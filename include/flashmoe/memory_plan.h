// Where the memory goes: computed before anything is loaded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

struct Allotment {
  // trunk, kv_cache, delta_state, workspace, expert_cache, read_buffers, program; of a service also sessions
  std::string name;
  uint64_t bytes = 0;        // given
  uint64_t floor_bytes = 0;  // least that works
};

struct MemoryPlan {
  uint64_t limit_bytes = 0;  // what the process may use, and
  std::string limit_source;  // who says so: "--ram", "cgroup /sys/fs/...", "available memory"
  uint64_t floor_bytes = 0;  // sum of the floors
  std::vector<Allotment> allotments;
  // Of kv_cache, delta_state, workspace and sessions: what the expert_cache has beside its own while they do not need
  // it.
  uint64_t lent_bytes = 0;
  bool experts_resident = false;
  uint64_t experts_total_bytes = 0;
  uint64_t left_in_file_bytes = 0;  // of the embedding, of which a token reads a row; 0: the trunk has it in memory
  uint64_t kv_bytes_per_token = 0;  // of attention layers' keys and values, in the numbers chosen for them

  uint64_t given(std::string_view name) const;  // to the allotment of that name; 0: there is none
  uint64_t budget_bytes() const;                // sum of what was given
  uint64_t spare_bytes() const;                 // of the limit, that nothing was given
  // Of the routed experts, that the expert_cache holds while one sequence of so many tokens is decoded.
  double cached_share(int64_t n_tokens) const;
  std::string table() const;  // for people, several lines
};

}  // namespace flashmoe
