// The roofs around each of several measurements, and during them: drives and hosts change their minds.
#pragma once

#include <functional>
#include <span>

#include "flashmoe/roofs.h"

namespace flashmoe {

class RoofLooks {
 public:
  // Takes the first look.
  explicit RoofLooks(std::function<Roofs()> look) : look_(std::move(look)), before_(look_()) {}

  // After a measurement: the mean of the look before it and of one taken now. What a look did not measure (0) is as it
  // was in the one before.
  Roofs around();

 private:
  std::function<Roofs()> look_;
  Roofs before_;
};

// How long a piece of work is between two looks at a roof that changes within seconds.
inline constexpr double kPieceSeconds = 0.1;

// One roof over the time of a measurement that is made in pieces, with a look after each.
class RoofMean {
 public:
  // A piece took `seconds`, and the look after it saw `roof`: the piece is held against the mean of this look and the
  // one before, or against this one alone if it is the first. A look that measured nothing (0) does not count.
  void add(double seconds, double roof);
  // What working at the roof all the time would have done, over that time; 0: there was no look.
  double mean() const { return seconds_ > 0 ? work_ / seconds_ : 0; }

 private:
  double seconds_ = 0, work_ = 0, before_ = 0;
};

// Roofs around a measurement, with RAM as it was during it, if that was seen (not 0).
Roofs with_ram_of(const Roofs& during, Roofs around);

// The median of each.
Roofs median_of(std::span<const Roofs> all);

}  // namespace flashmoe
