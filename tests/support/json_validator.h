// Whether a JSON schema validates a value: plainly written, to check the grammar against.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace flashmoe {

// The keywords that the grammar enforces, and no others. Where it does not, `why` says so.
bool validates(const nlohmann::ordered_json& schema, const nlohmann::ordered_json& value,
               const nlohmann::ordered_json& document, std::string& why);

}  // namespace flashmoe
