#include "engine/roof_looks.h"

#include "engine/spread.h"

namespace flashmoe {
Roofs RoofLooks::around() {
  Roofs now = look_();
  Roofs mean = now;
  for (double Roofs::*const roof : {&Roofs::ram_gb_per_s, &Roofs::disk_gb_per_s, &Roofs::int8_tops}) {
    if (now.*roof == 0) now.*roof = before_.*roof;
    mean.*roof = (before_.*roof + now.*roof) / 2;
  }
  before_ = now;
  return mean;
}

void RoofMean::add(double seconds, double roof) {
  if (roof <= 0) return;
  work_ += seconds * (before_ > 0 ? (before_ + roof) / 2 : roof);
  seconds_ += seconds;
  before_ = roof;
}

Roofs with_ram_of(const Roofs& during, Roofs around) {
  if (during.ram_gb_per_s > 0) around.ram_gb_per_s = during.ram_gb_per_s;
  return around;
}

Roofs median_of(std::span<const Roofs> all) {
  return {median_of(all, &Roofs::ram_gb_per_s), median_of(all, &Roofs::disk_gb_per_s),
          median_of(all, &Roofs::int8_tops), all.empty() ? "" : all.back().io_mode};
}

}  // namespace flashmoe
