#include "io/drive_pace.h"

#include <algorithm>

#include "base/bytes.h"

namespace flashmoe {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kWindowBytes = 16 * kMiB;  // the rate is judged anew after that many
constexpr double kRateWeight = 0.3;           // of the newest window
// In one window the waits for a drive may be so many times what its rate says, and this much longer: garbage collection
// inside an SSD takes tens of milliseconds, and lone reads are slower than the deep queue that was measured.
constexpr double kLateFactor = 8;
constexpr double kLateNs = 50e6;
constexpr uint64_t kSoonNs = 5 * kMillisecond;  // for a probe, whatever else the program does at the time
constexpr uint64_t kFirstPauseNs = 200 * kMillisecond, kLongestPauseNs = 60'000 * kMillisecond;

}  // namespace

void DrivePace::start_window() { bytes_ = busy_ns_ = waited_ns_ = 0; }

void DrivePace::begin(uint64_t now) { busy_since_ns_ = now; }

void DrivePace::arrive(uint64_t bytes, uint64_t now) {
  bytes_ += bytes;
  busy_ns_ += now - busy_since_ns_;
  busy_since_ns_ = now;
  if (bytes_ < kWindowBytes || busy_ns_ == 0 || is_late()) return;
  const double rate = static_cast<double>(bytes_) / static_cast<double>(busy_ns_);
  gb_per_s_ += kRateWeight * (rate - gb_per_s_);
  if (!rests_) pause_ns_ = 0;
  start_window();
}

bool DrivePace::is_late() const {
  return static_cast<double>(waited_ns_) > kLateNs + kLateFactor * static_cast<double>(bytes_) / gb_per_s_;
}

void DrivePace::rest(uint64_t now) {
  rests_ = true;
  pause_ns_ = pause_ns_ == 0 ? kFirstPauseNs : std::min(2 * pause_ns_, kLongestPauseNs);
  probe_ns_ = now + pause_ns_;
  start_window();
}

void DrivePace::probed(uint64_t bytes, uint64_t began, uint64_t now, double least_gb_per_s) {
  const uint64_t took = std::max<uint64_t>(now - began, 1);
  if (took > kSoonNs) return rest(now);
  rests_ = false;
  gb_per_s_ = std::max(static_cast<double>(bytes) / static_cast<double>(took), least_gb_per_s);
  start_window();
}

}  // namespace flashmoe
