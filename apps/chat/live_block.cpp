#include "chat/live_block.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>

namespace flashmoe {
namespace {

// Terminals that know synchronised updates show nothing in between; the others ignore the marks.
constexpr const char* kBegin = "\033[?2026h";
constexpr const char* kEnd = "\033[?2026l";

// What `after` has behind `before`; nothing unless it begins with it.
bool extends(const Line& after, const Line& before, Line* rest) {
  if (before.empty()) {
    *rest = after;
    return true;
  }
  const size_t last = before.size() - 1;
  if (after.size() < before.size() || !std::equal(before.begin(), before.end() - 1, after.begin())) return false;
  if (after[last].style != before[last].style || !after[last].text.starts_with(before[last].text)) return false;
  rest->clear();
  append(*rest, after[last].style, std::string_view(after[last].text).substr(before[last].text.size()));
  rest->insert(rest->end(), after.begin() + static_cast<std::ptrdiff_t>(before.size()), after.end());
  return true;
}

}  // namespace

// How many rows a line takes: more than one where the terminal has become narrower since.
int LiveBlock::rows_of(const Line& line, int columns) const {
  return std::max(1, (columns_of(line) + columns - 1) / std::max(1, columns));
}

void LiveBlock::show(std::vector<Line> lines) {
  if (lines == lines_) return;
  if (lines.empty()) return erase();
  const ScreenSize size = screen_.size();
  size_t same = 0;
  while (same < lines.size() && same < lines_.size() && lines[same] == lines_[same]) ++same;
  Line rest;
  std::string out;
  if (lines_.empty()) {
    // The cursor is where the block begins.
  } else if (same + 1 >= lines_.size() && lines.size() >= lines_.size() &&
             extends(lines[lines_.size() - 1], lines_.back(), &rest)) {
    out = ansi_text(rest);
    same = lines_.size();
  } else {
    // The cursor goes up to the first line that differs, or as far as the screen reaches.
    same = std::min({same, lines_.size() - 1, lines.size() - 1});
    int up = rows_of(lines_.back(), size.columns) - 1;
    size_t first = lines_.size() - 1;
    while (first > same) {
      const int rows = rows_of(lines_[first - 1], size.columns);
      if (up + rows > size.rows - 1) break;
      up += rows;
      --first;
    }
    out = "\r";
    if (up > 0) out += fmt::format("\033[{}A", up);
    out += "\033[J";
    same = std::min(first, lines.size());
    if (same < lines.size()) out += ansi_text(lines[same++]);
  }
  for (size_t at = same; at < lines.size(); ++at) {
    if (at > 0) out += "\r\n";
    out += ansi_text(lines[at]);
  }
  lines_ = std::move(lines);
  screen_.write(kBegin + out + kEnd);
}

void LiveBlock::finish() {
  if (!lines_.empty()) screen_.write("\r\n");
  lines_.clear();
}

void LiveBlock::erase() {
  if (lines_.empty()) return;
  const ScreenSize size = screen_.size();
  int up = -1;
  for (const Line& line : lines_) up += rows_of(line, size.columns);
  up = std::min(up, size.rows - 1);
  screen_.write("\r" + (up > 0 ? fmt::format("\033[{}A", up) : std::string()) + "\033[J");
  lines_.clear();
}

}  // namespace flashmoe
