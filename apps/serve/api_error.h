// An error as an API tells it.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

namespace flashmoe {

enum class Api { openai, anthropic };

// A request that cannot be answered. The message is one sentence for the person who wrote the client.
struct ApiError : std::runtime_error {
  ApiError(int http_status, const std::string& message, std::string field = {}, std::string code_name = {})
      : std::runtime_error(message), status(http_status), param(std::move(field)), code(std::move(code_name)) {}
  int status;
  std::string param;  // the field of the request at fault; may be empty
  std::string code;   // OpenAI's "code"; may be empty
};

// Whatever was thrown while a request was answered: an ApiError as it is, an Error by its fault, anything else 500.
ApiError api_error_of(const std::exception_ptr& thrown);

// The body of an error response, or of an error event.
std::string error_json(Api api, const ApiError& error);
// OpenAI's or Anthropic's name for a status: "invalid_request_error", "overloaded_error".
const char* error_type(Api api, int status);

}  // namespace flashmoe
