#include "chat/server_metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <functional>

namespace flashmoe {
namespace {

// Calls with name, labels and value as they are written.
void each_sample(std::string_view text,
                 const std::function<void(std::string_view, std::string_view, std::string_view)>& take) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t space = line.rfind(' ');
    if (line.starts_with('#') || space == std::string_view::npos) continue;
    const std::string_view series = line.substr(0, space);
    const size_t brace = std::min(series.find('{'), series.size());
    take(series.substr(0, brace), series.substr(brace), line.substr(space + 1));
  }
}

}  // namespace

std::optional<Stats> read_metrics(std::string_view text) {
  Stats stats;
  bool hits = false, misses = false;
  each_sample(text, [&](std::string_view name, std::string_view, std::string_view value) {
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || !(number >= 0 && number < 9e18)) return;
    if (name.ends_with("hits_total")) {
      stats.cache.hits += static_cast<uint64_t>(number);
      hits = true;
    } else if (name.ends_with("misses_total")) {
      stats.cache.misses += static_cast<uint64_t>(number);
      misses = true;
    }
  });
  if (!hits || !misses) return std::nullopt;
  return stats;
}

std::string metrics_text(std::string_view text) {
  constexpr std::string_view kOurs = "flashmoe_";
  std::string out;
  each_sample(text, [&](std::string_view name, std::string_view labels, std::string_view value) {
    if (!name.starts_with(kOurs)) return;
    out += fmt::format("  {:<44} {}\n", fmt::format("{}{}", name.substr(kOurs.size()), labels), value);
  });
  return out.empty() ? "  the server tells no statistics\n" : out;
}

}  // namespace flashmoe
