// Which drives to ask again for bytes that turned out to be wrong.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>

namespace flashmoe {

class DriveTries {
 public:
  // What `drives` gave is wrong: ReadDone::drives, several where a read was cut, 0 where nobody knows. The drives to
  // avoid in the next try: each is asked alone, a lone one twice, since memory and cables err, too. Nothing: enough.
  std::optional<uint32_t> next(uint32_t drives, int n_drives) {
    if (std::has_single_bit(drives)) wrong_ |= drives;
    gave_ |= drives;
    const uint32_t all = n_drives >= 32 ? ~uint32_t{0} : (uint32_t{1} << n_drives) - 1;
    const uint32_t left = all & ~wrong_;
    ++n_;
    if (n_ > n_drives || (n_ > 1 && left == 0)) return std::nullopt;
    return left == 0 ? 0 : all & ~(uint32_t{1} << std::countr_zero(left));
  }
  int n() const { return n_; }  // tries that were wrong
  // Of the drives that gave wrong bytes, alone or together: all but those that then gave the right ones.
  uint32_t suspects(uint32_t right_drives) const { return gave_ & ~right_drives; }

 private:
  uint32_t wrong_ = 0, gave_ = 0;  // bit sets: on their own; in any way
  int n_ = 0;
};

}  // namespace flashmoe
