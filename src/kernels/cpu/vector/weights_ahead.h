// Weights on their way from memory to L2 while others are multiplied.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmoe::FLASHMOE_ISA {

// One row of activations, or two, ask for weights a line at a time, this far ahead of the line that is multiplied.
inline constexpr size_t kAskedAhead = 3072;

// On x86. Lines that are asked for together are waited for, and compilers move __builtin_prefetch, which depends on
// nothing, to where others are: so it is an instruction that seems to change `value`, which is made of the line
// (docs/experiments/0038-a-line-at-a-time.md).
template <typename Vector>
[[gnu::always_inline]] inline void ask_ahead_of(const std::byte* line, Vector& value) {
  asm volatile("prefetcht0 %a1" : "+v"(value) : "p"(line + kAskedAhead));
}

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
