// POST /v1/responses
#pragma once

#include <memory>
#include <string_view>

#include "serve/exchange.h"

namespace flashmoe {

// Throws ApiError 400.
std::unique_ptr<Exchange> read_response_request(std::string_view body, const Served& served);

}  // namespace flashmoe
