#include "checkpoint/shown_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace flashmoe {

constexpr size_t kMaxShown = 80;

std::string printable(std::string_view name) {
  std::string text;
  for (const char c : name) {
    if (text.size() >= kMaxShown) {
      text += "...";
      break;
    }
    if (c < ' ' || c > '~') {
      fmt::format_to(std::back_inserter(text), "\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text;
}

std::string in_quotes(std::string_view name) { return fmt::format("'{}'", printable(name)); }

std::string list_some(const std::vector<std::string>& names) {
  constexpr size_t kShown = 4;
  std::string text;
  for (size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += i == 0 ? in_quotes(names[i]) : ", " + in_quotes(names[i]);
  }
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

}  // namespace flashmoe
