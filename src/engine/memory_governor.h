// Gives memory back before the kernel takes it: how large the expert cache should be right now.
#pragma once

#include <cstdint>
#include <functional>

#include "memory/memory_watch.h"

namespace flashmoe {

// The cache shrinks at once and grows back slowly, and more slowly each time that growing turned out to be wrong.
// Pressed means: less headroom than `low_bytes` after as much again as others took since the last look, more than
// kFaultsPerSecond major faults a second, more than kStalledPercent of the time spent waiting for memory while headroom
// is less than ample (waiting alone is no sign: whoever fills memory that holds page cache waits until the kernel has
// given that up), or pages of ours in swap that were not there before.
class MemoryGovernor {
 public:
  static constexpr double kFaultsPerSecond = 20;
  static constexpr double kStalledPercent = 10;
  static constexpr double kCalmSeconds = 10;  // without pressure before the cache grows
  static constexpr double kLongestCalmSeconds = 320;

  struct Sizes {
    uint64_t full_bytes = 0;   // what the plan gave
    uint64_t floor_bytes = 0;  // least that works
    uint64_t low_bytes = 0;    // headroom to keep free
  };
  explicit MemoryGovernor(const Sizes& sizes) : sizes_(sizes), cache_bytes_(sizes.full_bytes) {}

  // What the cache should hold. `seconds`: any clock that goes forward; calls less than half a second apart change
  // nothing.
  uint64_t decide(const MemoryPressure& now, double seconds);
  uint64_t cache_bytes() const { return cache_bytes_; }

 private:
  bool pressed(const MemoryPressure& now, double elapsed) const;
  uint64_t least_headroom(const MemoryPressure& now) const;

  Sizes sizes_;
  uint64_t cache_bytes_;
  MemoryPressure before_;
  double last_s_ = -1;  // of the last decision
  double last_pressed_s_ = 0;
  double calm_s_ = kCalmSeconds;
  bool grown_ = false;  // since it last shrank
};

// What should stay free of a limit: enough for what the kernel takes in a moment, far below what planning reserves.
uint64_t headroom_to_keep(uint64_t limit_bytes);

// Asks the system at most twice a second what a cache of these sizes may hold. One thread at a time.
std::function<uint64_t()> governed_cache(const MemoryGovernor::Sizes& sizes);

}  // namespace flashmoe
