// Where a byte inside a JSON string leads: valid UTF-8, valid escapes, surrogates only in pairs, no control bytes.
#pragma once

#include <array>
#include <cstdint>

namespace flashmoe {

// between: at the border of two characters. quote, invalid: not phases; the string's end, and what must not come.
struct TextPhase {
  enum Phase : int8_t {
    invalid = -2,
    quote = -1,
    between = 0,
    escape,  // behind a backslash
    hex_first,
    hex_3,
    hex_2,
    hex_1,  // hexadecimal digits to come
    hex_d,
    high_2,
    high_1,
    low_escape,
    low_u,
    low_first,
    low_second,  // in a surrogate pair
    tail_1,
    tail_2,
    tail_3,
    tail_after_e0,
    tail_after_ed,
    tail_after_f0,
    tail_after_f4,  // UTF-8 bytes to come
    n_phases
  };
};

using TextPhaseTable = std::array<std::array<TextPhase::Phase, 256>, TextPhase::n_phases>;

// [phase][byte]
extern const TextPhaseTable kTextPhases;

}  // namespace flashmoe
