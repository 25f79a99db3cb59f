// Weights on their way from memory to L2 while others are multiplied.
#pragma once

#include <cstdint>

namespace flashmoe::FLASHMOE_ISA {

// Memory that is asked for bit by bit while something else is computed: weights that all come at once, when they are
// unpacked, wait for each other.
struct WeightsAhead {
  const char *at, *end;
  int n_lines;  // at a time

  // In n_times at most, with a third to spare: what is asked for last must have come.
  WeightsAhead(const char* from, const char* to, int64_t n_times)
      : at(from), end(to), n_lines(static_cast<int>((to - from) / 48 / n_times + 1)) {}
  void prefetch() {
    if (at >= end) return;
    for (int line = 0; line < n_lines; ++line) __builtin_prefetch(at + 64 * line, 0, 2);
    at += 64 * n_lines;
  }
};

}  // namespace flashmoe::FLASHMOE_ISA
