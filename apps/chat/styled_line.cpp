#include "chat/styled_line.h"

#include <algorithm>
#include <utility>

#include "chat/shown_text.h"

namespace flashmoe {
namespace {

constexpr int kTab = 4;
constexpr int kLeastColumns = 8;  // beside an indent, however narrow the terminal

// One text on its way to lines.
class Wrapping {
 public:
  Wrapping(int columns, const Indent& indent, Spaces spaces)
      : columns_(columns), indent_(indent), keep_spaces_(spaces == Spaces::keep) {
    begin(indent.first);
  }

  void add(uint8_t style, std::string_view text) {
    while (!text.empty()) {
      const Character character = first_character(text);
      const std::string_view bytes = text.substr(0, character.n_bytes);
      text.remove_prefix(character.n_bytes);
      if (bytes == "\n") {
        end_word();
        end_line();
      } else if (bytes == "\t") {
        for (int i = 0; i < kTab; ++i) add_space(style);
      } else if (bytes == " ") {
        add_space(style);
      } else {
        add_character(style, bytes, character.columns);
      }
    }
  }

  std::vector<Line> finish() {
    end_word();
    lines_.push_back(std::move(line_));
    return std::move(lines_);
  }

 private:
  void begin(const Line& prefix) {
    line_ = prefix;
    used_ = columns_of(prefix);
    room_ = std::max(columns_, used_ + kLeastColumns);
    start_ = used_;
    spaces_.clear();
  }

  void end_line() {
    lines_.push_back(std::move(line_));
    begin(indent_.rest);
  }

  void add_space(uint8_t style) {
    end_word();
    if (keep_spaces_) {
      if (used_ + 1 > room_) end_line();
      append(line_, style, " ");
      ++used_;
    } else {
      append(spaces_, style, " ");
    }
  }

  void add_character(uint8_t style, std::string_view bytes, int columns) {
    if (keep_spaces_) {
      if (used_ + columns > room_) end_line();
      append(line_, style, bytes);
      used_ += columns;
      return;
    }
    if (columns == 2) end_word();  // a line may end before a wide character
    append(word_, style, bytes);
    word_columns_ += columns;
  }

  void end_word() {
    if (word_.empty()) return;
    const int n_spaces = columns_of(spaces_);
    if (used_ + n_spaces + word_columns_ > room_ && used_ > start_) {
      end_line();
    } else if (used_ > start_ || keep_spaces_) {
      for (const Span& span : spaces_) append(line_, span.style, span.text);
      used_ += n_spaces;
    }
    spaces_.clear();
    for (const Span& span : std::exchange(word_, {})) place(span);
    word_columns_ = 0;
  }

  // A word, or what of it fits.
  void place(const Span& span) {
    std::string_view text = span.text;
    while (!text.empty()) {
      const Character character = first_character(text);
      if (used_ + character.columns > room_) end_line();
      append(line_, span.style, text.substr(0, character.n_bytes));
      used_ += character.columns;
      text.remove_prefix(character.n_bytes);
    }
  }

  const int columns_;
  const Indent& indent_;
  const bool keep_spaces_;
  std::vector<Line> lines_;
  Line line_, word_, spaces_;
  int used_ = 0, start_ = 0, room_ = 0, word_columns_ = 0;
};

std::string sequence(uint8_t style) {
  std::string codes = "0";
  if (style & kBold) codes += ";1";
  if (style & kDim) codes += ";2";
  if (style & kItalic) codes += ";3";
  if (style & kUnderlined) codes += ";4";
  if (style & kStruck) codes += ";9";
  if (style & kCoded) codes += ";36";
  return "\033[" + codes + "m";
}

}  // namespace

void append(Line& line, uint8_t style, std::string_view text) {
  if (text.empty()) return;
  if (!line.empty() && line.back().style == style) {
    line.back().text += text;
  } else {
    line.push_back({style, std::string(text)});
  }
}

int columns_of(const Line& line) {
  int columns = 0;
  for (const Span& span : line) columns += columns_of(span.text);
  return columns;
}

std::string plain_text(const Line& line) {
  std::string text;
  for (const Span& span : line) text += span.text;
  return text;
}

std::string ansi_text(const Line& line) {
  std::string text;
  uint8_t style = kPlain;
  for (const Span& span : line) {
    if (span.style != style) text += sequence(span.style);
    style = span.style;
    text += span.text;
  }
  return style == kPlain ? text : text + "\033[0m";
}

std::vector<Line> wrap(const Line& text, int columns, const Indent& indent, Spaces spaces) {
  Wrapping wrapping(columns, indent, spaces);
  for (const Span& span : text) wrapping.add(span.style, span.text);
  return wrapping.finish();
}

}  // namespace flashmoe
