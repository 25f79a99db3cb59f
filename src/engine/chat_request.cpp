#include "engine/chat_request.h"

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace flashmoe {
namespace {

constexpr int kDeepestRequest = 100;

}  // namespace

nlohmann::ordered_json parse_chat_request(std::string_view json) {
  const auto shallow = [](int depth, nlohmann::ordered_json::parse_event_t, nlohmann::ordered_json&) {
    if (depth > kDeepestRequest)
      fail(Fault::input, "the chat request is nested more than {} levels deep", kDeepestRequest);
    return true;
  };
  try {
    return nlohmann::ordered_json::parse(json, shallow);
  } catch (const nlohmann::json::exception& error) {
    fail(Fault::input, "the chat request is not valid JSON: {}", error.what());
  }
}

}  // namespace flashmoe
