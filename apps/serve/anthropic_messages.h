// POST /v1/messages and /v1/messages/count_tokens
#pragma once

#include <memory>
#include <string_view>

#include "serve/exchange.h"

namespace flashmoe {

// Throws ApiError 400.
std::unique_ptr<Exchange> read_messages(std::string_view body, const Served& served);
// The same, but for counting: max_tokens need not be there.
Request read_messages_to_count(std::string_view body);

}  // namespace flashmoe
