// The hit rates that a model had, remembered from run to run: how evenly a router picks is seen only in use.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace flashmoe {

struct HitRatePoint {
  double share = 0;     // of all experts, in the cache
  double hit_rate = 0;  // of decode, warm
};

// Hit rate at `share`, from points seen at others (any order) and the shape of usual_hit_rate between and beyond them:
// misses go as a power of the usual misses, and the exponent is interpolated. Without points, usual_hit_rate itself.
double expected_hit_rate(std::span<const HitRatePoint> seen, double share);

// Where they are kept: $XDG_CACHE_HOME/flashmoe or ~/.cache/flashmoe; empty when neither is set.
std::string user_cache_folder();

// Of the model with these files; a model is known by the name and size of its first file and the size of all.
class HitRates {
 public:
  // Reads what is there; a file that cannot be read or parsed counts as empty.
  HitRates(std::string folder, const std::vector<std::string>& files, uint64_t file_bytes);

  const std::vector<HitRatePoint>& points() const { return points_; }
  // Takes the place of a point within a hundredth of the share, and is written at once. False where that fails.
  bool remember(HitRatePoint point);

 private:
  std::string folder_, path_;
  std::vector<HitRatePoint> points_;
};

}  // namespace flashmoe
