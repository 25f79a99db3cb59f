// Lines at the bottom of a terminal that may still change.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "chat/styled_line.h"

namespace flashmoe {

struct ScreenSize {
  int columns = 80, rows = 24;
};

struct Screen {
  std::function<void(std::string_view)> write;
  std::function<ScreenSize()> size;
};

// Shows a growing block: what only grew is written behind what is there, and what changed is written anew, from the
// first line that differs, in one piece, so that nothing flickers. Lines that have left the screen stay as they are.
class LiveBlock {
 public:
  explicit LiveBlock(Screen screen) : screen_(std::move(screen)) {}

  void show(std::vector<Line> lines);
  void finish();  // the lines stay; the cursor is at the start of the line below them
  void erase();   // the lines go; the cursor is where the first one began
  bool empty() const { return lines_.empty(); }
  const Screen& screen() const { return screen_; }

 private:
  int rows_of(const Line& line, int columns) const;
  Screen screen_;
  std::vector<Line> lines_;
};

}  // namespace flashmoe
