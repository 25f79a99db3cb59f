#include "quantities.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "flashmoe/wording.h"

namespace flashmoe {

std::optional<uint64_t> parse_bytes(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  if (error != std::errc() || !std::isfinite(value) || value < 0) return std::nullopt;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (!unit.empty() && unit != "B") {
    const size_t power = std::string_view("KMGT").find(static_cast<char>(unit[0] & ~0x20));  // either case
    if (power == std::string_view::npos) return std::nullopt;
    const std::string_view rest = unit.substr(1);
    if (!rest.empty() && rest != "iB" && rest != "B") return std::nullopt;
    value *= std::pow(rest == "B" ? 1000.0 : 1024.0, static_cast<double>(power + 1));
  }
  if (value >= 9e18) return std::nullopt;
  return static_cast<uint64_t>(value);
}

std::string show_each(uint64_t bytes, uint64_t n, uint64_t largest) {
  if (bytes == n * largest) return human_bytes(largest) + " each";
  return fmt::format("{} each on average, {} at most", human_bytes(bytes / n), human_bytes(largest));
}

std::string show_count(uint64_t count) {
  std::string digits = fmt::format("{}", count);
  for (size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

}  // namespace flashmoe
