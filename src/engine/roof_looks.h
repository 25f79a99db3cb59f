// The roofs around each of several measurements: drives and hosts change their minds.
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

// The median of each.
Roofs median_of(std::span<const Roofs> all);

}  // namespace flashmoe
