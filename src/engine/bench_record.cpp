#include "engine/bench_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "base/small_file.h"
#include "engine/cache_folder.h"
#include "engine/forecast.h"
#include "flashmoe/version.h"

namespace flashmoe {
namespace {

constexpr size_t kMostBytes = 64 * kKiB;  // of a file; a hundred points, one for each percent, have a fifth of that
constexpr double kSameShare = 0.01;
constexpr double kLeastMisses = 1e-3;  // a run is too short to tell fewer from none
constexpr double kLeastExponent = 0.1, kMostExponent = 10;
constexpr double kLeastSeconds = 1e-7, kMostSeconds = 1e4;  // that a token computes
constexpr double kMostWaited = 100;                         // waiting by reading: more is no measurement

double misses(double hit_rate) { return std::clamp(1 - hit_rate, kLeastMisses, 1.0); }

bool is_same_share(const BenchPoint& a, const BenchPoint& b) { return std::abs(a.share - b.share) < kSameShare; }

// misses = usual misses to this power.
double exponent_of(const BenchPoint& point) {
  const double usual = std::min(misses(usual_hit_rate(point.share)), 1 - kLeastMisses);
  return std::clamp(std::log(misses(point.hit_rate)) / std::log(usual), kLeastExponent, kMostExponent);
}

// A number of `entry` that a machine can have, or 0: whatever else stands there is not from here.
double number_in(const nlohmann::json& entry, const char* key, double least, double most) {
  const auto found = entry.find(key);
  const double number = found != entry.end() && found->is_number() ? found->get<double>() : 0;
  return number >= least && number <= most ? number : 0;
}

}  // namespace

double expected_hit_rate(std::span<const BenchPoint> seen, double share) {
  if (seen.empty() || share <= 0 || share >= 1) return usual_hit_rate(share);
  const BenchPoint *below = nullptr, *above = nullptr;
  for (const BenchPoint& point : seen) {
    if (point.share >= 1) continue;
    if (point.share <= share && (below == nullptr || point.share > below->share)) below = &point;
    if (point.share >= share && (above == nullptr || point.share < above->share)) above = &point;
  }
  if (below == nullptr && above == nullptr) return usual_hit_rate(share);
  if (below == nullptr) below = above;
  if (above == nullptr) above = below;
  const double way = above->share > below->share ? (share - below->share) / (above->share - below->share) : 0;
  const double exponent = exponent_of(*below) * (1 - way) + exponent_of(*above) * way;
  return 1 - std::pow(1 - usual_hit_rate(share), exponent);
}

std::string machine_of(int n_threads, const std::string& kernels, bool exact) {
  return fmt::format("{}, {}{}, flashmoe {}", n_threads, kernels, exact ? ", exact" : "", kVersion);
}

BenchRecord::BenchRecord(const std::string& folder, const std::vector<std::string>& files, uint64_t file_bytes) {
  if (folder.empty() || files.empty()) return;
  path_ = model_record_path(folder, files, file_bytes) + ".hit_rates.json";
  const auto json = nlohmann::json::parse(read_small_file(path_, kMostBytes).value_or(""), nullptr, false);
  if (!json.is_array()) return;
  for (const auto& entry : json) {
    if (!entry.is_object()) continue;
    const auto share = entry.find("share"), rate = entry.find("hit_rate");
    if (share == entry.end() || rate == entry.end() || !share->is_number() || !rate->is_number()) continue;
    BenchPoint point{.share = share->get<double>(), .hit_rate = rate->get<double>()};
    const auto machine = entry.find("machine");
    point.compute_s = number_in(entry, "compute_s", kLeastSeconds, kMostSeconds);
    if (point.compute_s > 0 && machine != entry.end() && machine->is_string()) {
      point.machine = machine->get<std::string>();
      point.prefill_compute_s = number_in(entry, "prefill_compute_s", kLeastSeconds, kMostSeconds);
      point.waited_share = number_in(entry, "waited_share", 0, kMostWaited);
    }
    if (point.share > 0 && point.share <= 1 && point.hit_rate >= 0 && point.hit_rate <= 1) points_.push_back(point);
  }
}

bool BenchRecord::know_hits() const {
  return std::any_of(points_.begin(), points_.end(), [](const BenchPoint& point) { return point.share < 1; });
}

const BenchPoint* BenchRecord::nearest(const std::string& machine, double share, double BenchPoint::*known) const {
  const BenchPoint* found = nullptr;
  for (const BenchPoint& point : points_) {
    if (point.machine != machine || point.*known <= 0) continue;
    if (found == nullptr || std::abs(point.share - share) <= std::abs(found->share - share)) found = &point;
  }
  return found;
}

void BenchRecord::tell(const std::string& machine, double share, ForecastModel& model) const {
  if (const BenchPoint* point = nearest(machine, share, &BenchPoint::compute_s)) {
    model.compute_s = point->compute_s;
    model.computed_hit_rate = point->hit_rate;
  }
  if (const BenchPoint* point = nearest(machine, share, &BenchPoint::prefill_compute_s)) {
    model.prefill_compute_s = point->prefill_compute_s;
  }
  if (const BenchPoint* point = nearest(machine, share, &BenchPoint::waited_share)) {
    model.waited_share = point->waited_share;
  }
}

bool BenchRecord::remember(const BenchPoint& point) {
  std::erase_if(points_, [&](const BenchPoint& p) { return is_same_share(p, point); });
  points_.push_back(point);
  return write();
}

bool BenchRecord::remember_others(std::span<const BenchPoint> points) {
  for (const BenchPoint& point : points) {
    std::erase_if(points_, [&](const BenchPoint& p) { return p.compute_s == 0 && is_same_share(p, point); });
    const auto same = [&](const BenchPoint& p) { return is_same_share(p, point); };
    if (std::none_of(points_.begin(), points_.end(), same)) points_.push_back(point);
  }
  return write();
}

bool BenchRecord::write() const {
  if (path_.empty()) return false;
  auto json = nlohmann::json::array();
  for (const BenchPoint& p : points_) {
    json.push_back({{"share", p.share},
                    {"hit_rate", p.hit_rate},
                    {"compute_s", p.compute_s},
                    {"prefill_compute_s", p.prefill_compute_s},
                    {"waited_share", p.waited_share},
                    {"machine", p.machine}});
  }
  return write_small_file(path_, json.dump() + "\n");
}

}  // namespace flashmoe
