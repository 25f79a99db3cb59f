// Standard output that reports its failures, and a progress line that leaves no trace.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "flashmoe/options.h"
#include "pace.h"

namespace flashmoe {

// Keeps files that are opened later off descriptors 0 to 2, should the caller have closed them.
void hold_standard_descriptors();

bool is_terminal(int descriptor);
int terminal_columns(int descriptor);  // 80 where it is not known

// From here on, writes to readers who take nothing are given up when `wanted` says so. It is called often.
void give_up_writing_when(bool (*wanted)());

// Writes every byte, or throws Error{io} with `name` and the reason; false when the reader has gone, or was given up.
bool write_all(int descriptor, std::string_view bytes, std::string_view name);

// To standard error; a failure to write is not a failure of the run.
void write_error(std::string_view text);

// A line, broken between words where standard error is a terminal that is narrower; further lines are indented.
std::string fitted(std::string_view line);

// Unbuffered: each piece is seen at once.
class StandardOutput {
 public:
  bool write(std::string_view text);  // false once the reader has gone, or was given up
  bool open() const { return open_; }
  // Ends the last line, unless nothing was written or it has ended.
  void end_line();

 private:
  bool open_ = true;
  char last_ = '\n';
};

// One line on standard error, redrawn a few times a second; nothing when that is not a terminal.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { erase(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(const Progress& progress);
  void erase();

 private:
  bool terminal_;
  bool visible_ = false;
  uint64_t shown_ns_ = 0;
  Pace pace_;
};

}  // namespace flashmoe
