#include "base/kernel_text.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "base/bytes.h"

namespace flashmoe {

std::optional<std::string> read_kernel_text(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<uint64_t> parse_number(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return std::nullopt;
  text.remove_prefix(first);
  if (text.starts_with("max") || text.starts_with("unlimited")) return kUnlimited;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) return kUnlimited;
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

std::optional<uint64_t> read_number(const std::string& path) {
  const auto text = read_kernel_text(path);
  return text ? parse_number(*text) : std::nullopt;
}

std::optional<uint64_t> find_number(std::string_view text, std::string_view key) {
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    if (line.starts_with(key) && line.size() > key.size() &&
        (line[key.size()] == ' ' || line[key.size()] == ':' || line[key.size()] == '\t')) {
      return parse_number(line.substr(key.size() + 1));
    }
    at = end + 1;
  }
  return std::nullopt;
}

std::optional<uint64_t> find_kib(std::string_view text, std::string_view key) {
  const auto value = find_number(text, key);
  if (!value || *value > kUnlimited / kKiB) return std::nullopt;
  return *value * kKiB;
}

}  // namespace flashmoe
