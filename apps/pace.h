// How fast something goes now.
#pragma once

#include <cstdint>
#include <string>

#include "flashmoe/options.h"

namespace flashmoe {

// Over the last three to six seconds, in a long run some tenth of it: what is cheap and what is dear take turns, as
// copying a trunk and encoding experts do, so that the rate since the start says little about what is left.
class Pace {
 public:
  // Units a second of what is under way, told again and again; 0: not known, as in the first moment. Another `what`, or
  // less done than before, begins anew.
  double of(const Progress& progress);

 private:
  struct Mark {
    uint64_t done = 0;
    double seconds = 0;
  };
  std::string what_;
  Mark early_, late_;
};

}  // namespace flashmoe
