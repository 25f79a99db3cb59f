// The JSON of a chat request.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace flashmoe {

// The arguments of calls, which clients send as text, are objects. Throws Error{input} for arguments that are none, for
// what is no JSON, and for an extent in excess.
nlohmann::ordered_json parse_chat_request(std::string_view json);

}  // namespace flashmoe
