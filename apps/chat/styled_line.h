// Lines of text in several styles, wrapped to a width.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

enum Style : uint8_t {
  kPlain = 0,
  kBold = 1,
  kDim = 2,
  kItalic = 4,
  kUnderlined = 8,
  kStruck = 16,
  kCoded = 32,  // the colour of code
};

struct Span {
  uint8_t style = kPlain;  // of Style, together
  std::string text;        // harmless, without newlines
  bool operator==(const Span&) const = default;
};

using Line = std::vector<Span>;

// Joins with the last span where the styles are the same.
void append(Line& line, uint8_t style, std::string_view text);
int columns_of(const Line& line);
std::string plain_text(const Line& line);
// With escape sequences; ends in the plain style.
std::string ansi_text(const Line& line);

// What begins the first line of something wrapped, and each further one.
struct Indent {
  Line first, rest;
};

enum class Spaces {
  fold,  // those at a break go
  keep   // as code needs it, broken anywhere
};

// Breaks at spaces and between wide characters, and inside of words only where these are wider than a line. At least
// one line; '\n' in a span's text ends one.
std::vector<Line> wrap(const Line& text, int columns, const Indent& indent = {}, Spaces spaces = Spaces::fold);

}  // namespace flashmoe
