// POST /v1/completions: plain text, continued.
#pragma once

#include <memory>
#include <string_view>

#include "serve/exchange.h"

namespace flashmoe {

// Throws ApiError 400.
std::unique_ptr<Exchange> read_completion(std::string_view body, const Served& served);

}  // namespace flashmoe
