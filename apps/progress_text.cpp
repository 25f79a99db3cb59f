#include "progress_text.h"

#include <fmt/format.h>

#include <cmath>

#include "flashmoe/wording.h"
#include "quantities.h"

namespace flashmoe {
namespace {

constexpr double kLeastSeconds = 0.5;  // before the time left is told
constexpr double kMostSeconds = 1e6;   // left: nobody waits for what stands still

// "  1.90 GB/s", once it is known.
std::string rate_text(Progress::Unit unit, double rate) {
  if (rate == 0) return "";
  if (unit == Progress::Unit::bytes) return fmt::format("  {}/s", human_bytes(static_cast<uint64_t>(rate)));
  return fmt::format("  {:.{}f} {}/s", rate, rate < 10 ? 1 : 0, unit == Progress::Unit::steps ? "steps" : "tok");
}

// "  12 s left", once the rate means something.
std::string time_left(const Progress& progress, double rate) {
  if (progress.seconds < kLeastSeconds || progress.done >= progress.total) return "";
  const double left = std::ceil(static_cast<double>(progress.total - progress.done) / rate);
  if (!(left < kMostSeconds)) return "";
  const auto seconds = static_cast<uint64_t>(left);
  return seconds < 120 ? fmt::format("  {} s left", seconds) : fmt::format("  {} min left", (seconds + 59) / 60);
}

}  // namespace

std::string progress_text(const Progress& progress, double rate) {
  if (progress.total == 0) return progress.what;
  const std::string rate_and_rest = rate_text(progress.unit, rate) + time_left(progress, rate);
  if (progress.unit == Progress::Unit::bytes) {
    return fmt::format("{}  {} of {}{}", progress.what, human_bytes(progress.done), human_bytes(progress.total),
                       rate_and_rest);
  }
  return fmt::format("{}  {} of {} {}{}", progress.what, show_count(progress.done), show_count(progress.total),
                     progress.unit == Progress::Unit::steps ? "steps" : "tokens", rate_and_rest);
}

}  // namespace flashmoe
