// Markdown as lines for a terminal.
#pragma once

#include <string_view>
#include <vector>

#include "chat/styled_line.h"

namespace flashmoe {

// Headings, emphasis, code, lists, quotes, tables, rules and links of CommonMark with GitHub's tables, task lists and
// strikethrough. Line breaks stay as they were written. Whatever is not Markdown, HTML included, is shown as text.
std::vector<Line> render_markdown(std::string_view text, int columns);

}  // namespace flashmoe
