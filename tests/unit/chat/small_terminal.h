// As much of a terminal as a chat makes use of: what would be on it is text.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "chat/live_block.h"
#include "chat/shown_text.h"

namespace flashmoe {

class SmallTerminal {
 public:
  SmallTerminal(int columns, int rows) : size_{columns, rows} {}

  Screen screen() {
    return {[this](std::string_view bytes) { write(bytes); }, [this] { return size_; }};
  }

  void write(std::string_view bytes) {
    while (!bytes.empty()) bytes.remove_prefix(step(bytes));
  }

  // All rows, those that have left the screen included, without spaces at their ends.
  std::string text() const {
    std::string out;
    for (std::string row : rows_) {
      row.resize(row.find_last_not_of(' ') + 1);
      out += row + "\n";
    }
    while (out.ends_with("\n\n")) out.pop_back();
    return out;
  }
  int n_erasures() const { return n_erasures_; }
  int widest() const { return widest_; }
  std::string unknown() const { return unknown_; }  // sequences and control bytes it has no meaning for

 private:
  size_t step(std::string_view bytes) {
    if (bytes.starts_with("\033[")) {
      const size_t end = bytes.find_first_of("ABCDHJKhlm", 2);
      if (end == std::string_view::npos) {
        unknown_ += bytes;
        return bytes.size();
      }
      const std::string_view arguments = bytes.substr(2, end - 2);
      if (bytes[end] == 'A') {
        const size_t top =
            rows_.size() > static_cast<size_t>(size_.rows) ? rows_.size() - static_cast<size_t>(size_.rows) : 0;
        const auto up = static_cast<size_t>(std::stoi(std::string(arguments)));
        row_ = row_ >= top + up ? row_ - up : top;
      } else if (bytes[end] == 'J') {
        ++n_erasures_;
        rows_.resize(row_ + 1);
        rows_[row_] = rows_[row_].substr(0, at_);
      } else if (bytes[end] != 'm' && arguments != "?2026") {
        unknown_ += bytes.substr(0, end + 1);
      }
      return end + 1;
    }
    if (bytes[0] == '\r') {
      at_ = 0;
      column_ = 0;
      return 1;
    }
    if (bytes[0] == '\n') {
      if (++row_ == rows_.size()) rows_.emplace_back();
      return 1;
    }
    if (static_cast<unsigned char>(bytes[0]) < 0x20) unknown_ += bytes[0];
    const Character character = first_character(bytes);
    // Text is only ever written at a row's end.
    rows_[row_].resize(at_);
    rows_[row_] += bytes.substr(0, character.n_bytes);
    at_ += character.n_bytes;
    column_ += character.columns;
    widest_ = std::max(widest_, column_);
    return character.n_bytes;
  }

  ScreenSize size_;
  std::vector<std::string> rows_ = std::vector<std::string>(1);
  size_t row_ = 0, at_ = 0;
  int column_ = 0, widest_ = 0, n_erasures_ = 0;
  std::string unknown_;
};

}  // namespace flashmoe
