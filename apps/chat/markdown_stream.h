// Markdown that is shown while it is still being written.
#pragma once

#include <string>
#include <string_view>

#include "chat/live_block.h"

namespace flashmoe {

// The first block of `text` that nothing behind it can change any more ends here; npos while there is none.
size_t finished_block(std::string_view text);

// What of an unfinished block can be shown: marks at its end that may yet turn out to be something else are left away,
// emphasis and code that are open are closed.
std::string showable(std::string_view text);

// Blocks that are over are drawn for the last time; the one that grows is drawn again with each piece.
class MarkdownStream {
 public:
  explicit MarkdownStream(Screen screen) : block_(std::move(screen)) {}

  void add(std::string_view piece);
  void end();  // the cursor is at the start of a line

 private:
  void draw(std::string_view markdown, bool whole);
  LiveBlock block_;
  std::string text_;  // not finished
  bool first_ = true;
};

}  // namespace flashmoe
