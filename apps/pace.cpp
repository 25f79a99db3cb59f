#include "pace.h"

#include <algorithm>

namespace flashmoe {
namespace {

constexpr double kLeastSeconds = 0.3;     // before that a rate says little, and one step more would double it
constexpr double kSecondsApart = 3;       // marks, at least: some ten chunks of a packing at 100 MB/s
constexpr double kShareApart = 1.0 / 16;  // of the time so far: in a long run the time left does not jump about

}  // namespace

double Pace::of(const Progress& progress) {
  if (what_ != progress.what || progress.done < late_.done || progress.seconds < late_.seconds) {
    what_ = progress.what;
    early_ = late_ = {};
  }
  if (progress.seconds - late_.seconds > std::max(kSecondsApart, kShareApart * progress.seconds)) {
    early_ = late_;
    late_ = {progress.done, progress.seconds};
  }
  const double seconds = progress.seconds - early_.seconds;
  return seconds >= kLeastSeconds ? static_cast<double>(progress.done - early_.done) / seconds : 0;
}

}  // namespace flashmoe
