// Text as a terminal shows it: how many columns it takes, and without anything that would steer the terminal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace flashmoe {

struct Character {
  size_t n_bytes = 0;
  int columns = 0;    // 0 for marks that combine with the character before, 2 for wide ones
  int32_t code = -1;  // -1: not UTF-8; one byte
};

// The first of `text`, which must not be empty.
Character first_character(std::string_view text);

int columns_of(std::string_view text);

// Control characters, and marks that reverse the direction of writing, as \x1b and \u202e; what is not UTF-8 as U+FFFD.
// Newlines and tabs stay, and a carriage return before a newline goes.
std::string harmless(std::string_view text);

// On one line, cut to `columns` with "..." where it is longer.
std::string shortened(std::string_view text, int columns);

}  // namespace flashmoe
