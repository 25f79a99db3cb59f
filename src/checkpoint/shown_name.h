// Names out of files, as messages show them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

// A name out of a file, fit for a one-line message: at most 80 characters, all of them printable.
std::string printable(std::string_view name);
// The same between quotes.
std::string in_quotes(std::string_view name);

// "a, b, c and 4 more".
std::string list_some(const std::vector<std::string>& names);

}  // namespace flashmoe
