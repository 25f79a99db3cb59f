// The JSON of a chat request.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace flashmoe {

// Throws Error{input} for what is no JSON, or nested so deeply that whoever writes it out again would recurse too far.
nlohmann::ordered_json parse_chat_request(std::string_view json);

}  // namespace flashmoe
