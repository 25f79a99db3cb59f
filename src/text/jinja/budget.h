// What one render may use: a template comes out of a model file, so it may be hostile.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/error.h"

namespace flashmoe::jinja {

constexpr int kMaxValueDepth = 100;  // lists in lists in ...; Python's json gives up near 1,000

class Budget {
 public:
  Budget(uint64_t max_steps, uint64_t max_bytes) : steps_left_(max_steps), bytes_left_(max_bytes) {}

  void spend_steps(uint64_t n) {
    if (n > steps_left_) fail(Fault::input, "the template takes too many steps; it may not end");
    steps_left_ -= n;
  }
  // Bytes of every string and list made, whether or not they are still alive; called before they are allocated.
  void spend_bytes(uint64_t n) {
    if (n > bytes_left_) fail(Fault::input, "the template makes more text than it may");
    bytes_left_ -= n;
    spend_steps(n / 64);
  }
  uint64_t bytes_left() const { return bytes_left_; }

 private:
  uint64_t steps_left_;
  uint64_t bytes_left_;
};

}  // namespace flashmoe::jinja
