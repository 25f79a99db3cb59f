// What the kernel says about memory while the process runs.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

struct MemoryPressure {
  // What can still be taken before a cgroup's limit is met or the machine has nothing available. Page cache counts as
  // free: the kernel takes it back.
  uint64_t headroom_bytes = ~uint64_t{0};
  uint64_t own_bytes = 0;      // that this process has of it, files aside
  uint64_t major_faults = 0;   // of this process since it started: pages it had to wait for from a disk
  uint64_t swapped_bytes = 0;  // of this process
  double stalled_percent = 0;  // of the last 10 s in which some task of the cgroup waited for memory; 0: not told
};

// Reads through files that stay open and into a buffer of its own: sample() allocates nothing. One thread at a time.
class MemoryWatch {
 public:
  // `root` replaces "/" in tests (proc/self/{cgroup,stat,status}, proc/meminfo, proc/pressure/memory, sys/fs/cgroup).
  explicit MemoryWatch(const std::string& root = "/");
  ~MemoryWatch();
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  MemoryPressure sample();

 private:
  struct Group;
  std::string_view text_of(int file);
  uint64_t headroom_of(const Group& group);

  std::vector<Group> groups_;
  int meminfo_ = -1, status_ = -1, stat_ = -1, pressure_ = -1;
  std::array<char, 16384> text_;
};

}  // namespace flashmoe
