// How fast a drive answers, as far as its reads tell, and whether it is to be left alone for a while.
#pragma once

#include <cstdint>

namespace flashmoe {

// Times are of one clock, in ns. Nothing is asked of the clock here.
class DrivePace {
 public:
  explicit DrivePace(double gb_per_s) : gb_per_s_(gb_per_s) {}

  double gb_per_s() const { return gb_per_s_; }
  void begin(uint64_t now);  // a read, the only one in flight
  void arrive(uint64_t bytes, uint64_t now);
  // Somebody stood still for `ns` while reads of this drive were in flight.
  void wait(uint64_t ns) { waited_ns_ += ns; }
  // Far slower than it was: a drive that heats up, a network mount that hangs.
  bool is_late() const;

  // It was not the drive, or there is no better one.
  void forgive() { start_window(); }
  // From now on it is left alone but for probes: one short read at a time that nobody waits for.
  void rest(uint64_t now);
  bool rests() const { return rests_; }
  bool wants_probe(uint64_t now) const { return rests_ && now >= probe_ns_; }
  // A probe took so long. One that came soon ends the rest, `least_gb_per_s` being what the drive is then trusted with.
  void probed(uint64_t bytes, uint64_t began, uint64_t now, double least_gb_per_s);

 private:
  void start_window();

  double gb_per_s_;
  uint64_t bytes_ = 0, busy_ns_ = 0, waited_ns_ = 0;  // of the window
  uint64_t busy_since_ns_ = 0;
  bool rests_ = false;
  uint64_t pause_ns_ = 0, probe_ns_ = 0;  // until the next probe; when that is
};

}  // namespace flashmoe
