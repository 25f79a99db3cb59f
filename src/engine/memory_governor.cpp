#include "engine/memory_governor.h"

#include <algorithm>
#include <memory>

#include "base/bytes.h"
#include "base/clock.h"

namespace flashmoe {
namespace {

constexpr double kPeriodSeconds = 0.5;
constexpr uint64_t kShrinkShare = 16;  // of the cache, at least, each time
constexpr uint64_t kGrowShare = 32;    // of the plan
constexpr uint64_t kAmple = 8;         // times the headroom to keep

}  // namespace

// What others take goes on until the next look: a neighbour that fills memory leaves nothing to give back by then.
uint64_t MemoryGovernor::least_headroom(const MemoryPressure& now) const {
  constexpr auto kNotTold = MemoryPressure{}.headroom_bytes;
  if (now.headroom_bytes == kNotTold || before_.headroom_bytes == kNotTold) return sizes_.low_bytes;
  const auto gone = static_cast<int64_t>(before_.headroom_bytes) - static_cast<int64_t>(now.headroom_bytes);
  const auto own = static_cast<int64_t>(now.own_bytes) - static_cast<int64_t>(before_.own_bytes);
  return sizes_.low_bytes + static_cast<uint64_t>(std::max<int64_t>(0, gone - own));
}

bool MemoryGovernor::pressed(const MemoryPressure& now, double elapsed) const {
  const auto new_faults = static_cast<double>(now.major_faults - std::min(now.major_faults, before_.major_faults));
  const bool stalled = now.stalled_percent > kStalledPercent && now.headroom_bytes < kAmple * sizes_.low_bytes;
  return now.headroom_bytes < least_headroom(now) || new_faults > kFaultsPerSecond * elapsed || stalled ||
         now.swapped_bytes > before_.swapped_bytes;
}

uint64_t MemoryGovernor::decide(const MemoryPressure& now, double seconds) {
  if (last_s_ < 0) {  // nothing to compare with yet
    before_ = now;
    last_s_ = last_pressed_s_ = seconds;
  }
  const double elapsed = seconds - last_s_;
  if (elapsed < kPeriodSeconds) return cache_bytes_;
  if (pressed(now, elapsed)) {
    const uint64_t wanted = least_headroom(now) + sizes_.low_bytes;
    const uint64_t missing = wanted - std::min(wanted, now.headroom_bytes);
    const uint64_t give = std::max(missing, cache_bytes_ / kShrinkShare);
    cache_bytes_ = std::max(sizes_.floor_bytes, cache_bytes_ - std::min(give, cache_bytes_));
    if (grown_) calm_s_ = std::min(2 * calm_s_, kLongestCalmSeconds);
    grown_ = false;
    last_pressed_s_ = seconds;
  } else if (cache_bytes_ < sizes_.full_bytes && seconds - last_pressed_s_ >= calm_s_) {
    const uint64_t step = std::min(sizes_.full_bytes / kGrowShare, sizes_.full_bytes - cache_bytes_);
    if (now.headroom_bytes >= 3 * sizes_.low_bytes + step) {
      cache_bytes_ += step;
      grown_ = true;
      last_pressed_s_ = seconds;  // see what this step does before the next
    }
  }
  before_ = now;
  last_s_ = seconds;
  return cache_bytes_;
}

uint64_t headroom_to_keep(uint64_t limit_bytes) { return std::clamp(limit_bytes / 256, 8 * kMiB, 128 * kMiB); }

std::function<uint64_t()> governed_cache(const MemoryGovernor::Sizes& sizes) {
  struct Watched {
    explicit Watched(const MemoryGovernor::Sizes& its_sizes) : governor(its_sizes) {}
    MemoryWatch watch;
    MemoryGovernor governor;
    uint64_t start_ns = now_ns(), last_ns = 0;
  };
  return [state = std::make_shared<Watched>(sizes)] {
    const uint64_t now = now_ns();
    if (static_cast<double>(now - state->last_ns) < 1e9 * kPeriodSeconds) return state->governor.cache_bytes();
    state->last_ns = now;
    return state->governor.decide(state->watch.sample(), seconds_since(state->start_ns));
  };
}

}  // namespace flashmoe
