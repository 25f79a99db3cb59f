// JSON as it is read from others and written to them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace flashmoe {

using Json = nlohmann::ordered_json;  // tools and schemas keep their order of keys

// Whatever bytes are in its texts: what is not UTF-8 becomes U+FFFD. Compact unless there is an indent.
std::string dump(const Json& json, int indent = -1);

inline constexpr size_t kMostJsonValues = size_t{1} << 19;  // and names: a prompt of 262,144 token ids is half of them

// What has more than kMostJsonValues, a number beyond a double, or an extent in excess is refused with Error{input},
// whose message goes on behind the name of what was read. Throws Json::parse_error.
Json parse_json(std::string_view text);

}  // namespace flashmoe
