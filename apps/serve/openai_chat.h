// POST /v1/chat/completions
#pragma once

#include <memory>
#include <string_view>

#include "serve/exchange.h"

namespace flashmoe {

// Throws ApiError 400.
std::unique_ptr<Exchange> read_chat_completion(std::string_view body, const Served& served);

}  // namespace flashmoe
