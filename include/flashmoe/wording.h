// How sizes and names are written for people.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace flashmoe {

// "19.6 GB", "576 KB": decimal units, three digits.
std::string human_bytes(uint64_t bytes);

// Control bytes, ends of lines too, as \xNN: a name out of a file must not steer a terminal.
std::string without_controls(std::string_view text);

}  // namespace flashmoe
