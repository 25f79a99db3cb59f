#include "serve/api_error.h"

#include <nlohmann/json.hpp>

#include "flashmoe/error.h"
#include "flashmoe/service.h"
#include "serve/request_fields.h"

namespace flashmoe {
namespace {

int status_of(Fault fault) {
  switch (fault) {
    case Fault::usage:
    case Fault::input:
      return 400;
    case Fault::unsupported:
      return 501;
    case Fault::busy:
    case Fault::interrupted:
      return 503;
    default:
      return 500;
  }
}

}  // namespace

ApiError api_error_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const ApiError& error) {
    return error;
  } catch (const ContextExceeded& error) {
    return {400, error.what(), {}, "context_length_exceeded"};
  } catch (const Error& error) {
    return {status_of(error.fault()), error.what(), {}, error.fault() == Fault::busy ? "queue_full" : ""};
  } catch (const std::bad_alloc&) {
    return {503, "the server is out of memory; try again later"};
  } catch (const std::exception& error) {
    return {500, std::string("internal error: ") + error.what()};
  } catch (...) {
    return {500, "internal error"};
  }
}

const char* error_type(Api api, int status) {
  const bool openai = api == Api::openai;
  switch (status) {
    case 401:
      return openai ? "invalid_request_error" : "authentication_error";
    case 403:
      return openai ? "invalid_request_error" : "permission_error";
    case 404:
      return openai ? "invalid_request_error" : "not_found_error";
    case 413:
      return openai ? "invalid_request_error" : "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return openai ? "server_error" : "overloaded_error";
    default:
      return status < 500 ? "invalid_request_error" : openai ? "server_error" : "api_error";
  }
}

std::string error_json(Api api, const ApiError& error) {
  const char* type = error_type(api, error.status);
  if (api == Api::anthropic) {
    return dump(Json{{"type", "error"}, {"error", {{"type", type}, {"message", error.what()}}}});
  }
  const auto or_null = [](const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); };
  return dump(Json{
      {"error",
       {{"message", error.what()}, {"type", type}, {"param", or_null(error.param)}, {"code", or_null(error.code)}}}});
}

}  // namespace flashmoe
