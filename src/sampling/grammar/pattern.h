// Regular expressions, as JSON Schema has them, to automata over characters.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "sampling/grammar/char_dfa.h"

namespace flashmoe {

struct CompiledPattern {
  CharDfa dfa;
  std::string refusal;  // why there is none: one line; empty when there is
};

// The texts in which the pattern is found. Of ECMAScript: characters, escapes, ., classes, \d \w \s and their
// complements, groups, alternation, greedy and lazy quantifiers, ^ and $. Refused: assertions other than those, back
// references, \b, \p, flags, and what needs more than CharDfa::kMaxStates states.
// `work` is what compiling may still cost, about 10 ns each; it is taken from.
CompiledPattern compile_pattern(std::string_view pattern, size_t& work);

// The pattern of a format that JSON Schema names, such as "date-time"; nothing for one that is not enforced. Dates are
// those of the calendar.
std::optional<std::string> pattern_of_format(std::string_view format);

}  // namespace flashmoe
