// What benchmarks of a model showed, remembered for forecasts: how evenly a router picks, and what a token takes beside
// its matrices, is seen only in use.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace flashmoe {

struct BenchPoint {
  double share = 0;              // of all experts, in the cache; 1: all in memory, where hits tell nothing
  double hit_rate = 0;           // of decode, warm
  double compute_s = 0;          // of a decoded token, all but waiting for reads; 0: not known (no run had this size)
  double prefill_compute_s = 0;  // the same of a prompt's token, in steps of kLeastPrefill or more; 0: not known
  // Waiting for a decoded token's reads, by the time they take at the drive's speed; 0: not known.
  double waited_share = 0;
  std::string machine = {};  // threads and kernels of the run, which these hold for
};

inline constexpr int64_t kLeastPrefill = 256;  // shorter steps take longer for each token

// Hit rate at `share`, from points seen at others (any order) and the shape of usual_hit_rate between and beyond them:
// misses go as a power of the usual misses, and the exponent is interpolated. Without points, usual_hit_rate itself.
double expected_hit_rate(std::span<const BenchPoint> seen, double share);

// Threads and kernels as BenchPoint::machine has them.
std::string machine_of(int n_threads, const std::string& kernels, bool exact);

struct ForecastModel;

// Of the model with these files.
class BenchRecord {
 public:
  // Reads what is there; a file that cannot be read or parsed counts as empty.
  BenchRecord(const std::string& folder, const std::vector<std::string>& files, uint64_t file_bytes);

  const std::vector<BenchPoint>& points() const { return points_; }
  bool know_hits() const;  // of a cache that did not hold all
  // Of runs with these threads and kernels that know a number, the one with the nearest share of experts in the cache,
  // of two the later; null: none does. Valid until remember() is called.
  const BenchPoint* nearest(const std::string& machine, double share, double BenchPoint::*known) const;
  // What runs with these threads and kernels and the nearest share of experts in the cache had.
  void tell(const std::string& machine, double share, ForecastModel& model) const;
  // Takes the place of a point within a hundredth of the share, and is written at once. False where that fails.
  bool remember(const BenchPoint& point);
  // The same of caches that no run had: what one had stays.
  bool remember_others(std::span<const BenchPoint> points);

 private:
  bool write() const;

  std::string path_;
  std::vector<BenchPoint> points_;
};

}  // namespace flashmoe
