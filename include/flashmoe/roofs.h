// The roofs: what this machine can do at best, measured, and what a run's speed is held against.
#pragma once

#include <cstdint>
#include <string>

namespace flashmoe {

struct Roofs {
  // Reads of memory far larger than the caches, by all threads of a run; 0: not measured.
  double ram_gb_per_s = 0;
  double disk_gb_per_s = 0;  // random reads of the model's experts; 0: not measured
  double int8_tops = 0;      // 10^12 int8 multiplies and adds a second, on registers alone, by all threads
  std::string io_mode;       // how the disk was read: "io_uring, direct 512, depth 64"
};

}  // namespace flashmoe
