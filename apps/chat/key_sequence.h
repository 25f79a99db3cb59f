// What a terminal sends for a key: an escape and what belongs to it.
#pragma once

#include <string_view>

namespace flashmoe {

// Whether more bytes belong to what a key sends. It begins with an escape.
bool goes_on(std::string_view keys);

// Whether it is a control sequence (ESC [ or ESC O and what follows), and not a letter with Alt.
bool is_control_sequence(std::string_view keys);

}  // namespace flashmoe
