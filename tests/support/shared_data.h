// Large reference data that is not part of the source tree.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace flashmoe {

// Where `relative` ("goldens/qwen3_next") is: under $FLASHMOE_SHARED, or under "shared" beside the source tree.
// Nothing when it is not there; tests then skip and say so.
std::optional<std::string> shared_path(std::string_view relative);

}  // namespace flashmoe
