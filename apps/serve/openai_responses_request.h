// What a call of OpenAI's Responses asks for.
#pragma once

#include <string_view>

#include "flashmoe/service.h"
#include "serve/request_fields.h"

namespace flashmoe {

struct ResponsesRequest {
  Request request;
  bool stream = false;
  Json echoed;  // fields of the request that a response repeats
};

// Throws ApiError 400.
ResponsesRequest read_responses_request(std::string_view body);

}  // namespace flashmoe
