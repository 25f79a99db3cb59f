// What tests make up: streams of numbers by name, whole numbers in a range, values like weights.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/random.h"

namespace flashmoe {

class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}
  // A stream of its own for each name.
  Random(uint64_t seed, std::string_view name) : bits_(seed_of(seed, name)) {}

  uint64_t next() { return bits_.next(); }
  uint64_t below(uint64_t n) { return bits_.below(n); }
  int between(int low, int high) { return low + static_cast<int>(below(static_cast<uint64_t>(high - low + 1))); }
  float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }  // [0, 1)
  // Mean 0, variance 1, nearly normal: the sum of twelve uniforms needs no libm, whose bits differ between machines.
  float normal() {
    float sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }

 private:
  static uint64_t seed_of(uint64_t seed, std::string_view name) {
    for (const char c : name) seed = (seed ^ static_cast<unsigned char>(c)) * 0x100000001b3u + 0x9e3779b97f4a7c15u;
    return seed;
  }
  SplitMix bits_;
};

}  // namespace flashmoe
