// Lists of layers, as people write them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

// Appends "12" or "0-7" to the list. Returns what is expected instead, or nothing.
std::string take_layers(std::string_view text, std::vector<int>& layers);

}  // namespace flashmoe
