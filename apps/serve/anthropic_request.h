// What a call of Anthropic's Messages asks for.
#pragma once

#include <string_view>

#include "flashmoe/service.h"

namespace flashmoe {

struct MessagesRequest {
  Request request;
  bool stream = false;
};

// `counting`: max_tokens need not be there. Throws ApiError 400.
MessagesRequest read_messages_request(std::string_view body, bool counting);

}  // namespace flashmoe
