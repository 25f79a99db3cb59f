#include "serve/request_fields.h"

#include <fmt/format.h>

#include <cmath>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {

constexpr size_t kLongestReason = 200;  // it may quote what was sent

}  // namespace

Json parse_object(std::string_view body) {
  Json json;
  try {
    json = parse_json(body);
  } catch (const Error& error) {
    throw ApiError(400, std::string("the request ") + error.what());
  } catch (const Json::exception& error) {
    std::string reason = error.what();
    if (const size_t end = reason.find("] "); end != std::string::npos) reason = reason.substr(end + 2);
    if (reason.size() > kLongestReason) reason = reason.substr(0, kLongestReason) + "...";
    throw ApiError(400, "the request is not valid JSON: " + reason);
  }
  if (!json.is_object()) throw ApiError(400, "the request must be a JSON object");
  return json;
}

Json parse_argument_object(std::string_view text) {
  try {
    Json json = parse_json(text);
    return json.is_object() ? json : Json(nullptr);
  } catch (const std::exception&) {
    return nullptr;
  }
}

void bad_request(const std::string& field, const std::string& message) {
  throw ApiError(400, field + ": " + message, field);
}

RequestFields::RequestFields(const Json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) {
    bad_request(where_.empty() ? "request" : where_.substr(0, where_.size() - 1), "an object is expected");
  }
}

void RequestFields::complain(const char* name, const std::string& expected) const {
  bad_request(at(name), expected + " is expected");
}

const Json* RequestFields::find(const char* name) const {
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> RequestFields::boolean(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_boolean()) complain(name, "true or false");
  return value->get<bool>();
}

std::optional<int64_t> RequestFields::integer(const char* name, int64_t least, int64_t most) const {
  const auto value = number(name, static_cast<double>(least), static_cast<double>(most));
  if (!value) return {};
  if (std::floor(*value) != *value) complain(name, "a whole number");
  return find(name)->is_number_integer() ? find(name)->get<int64_t>() : static_cast<int64_t>(*value);
}

std::optional<double> RequestFields::number(const char* name, double least, double most) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  const double number = value->is_number() ? value->get<double>() : NAN;
  if (!(number >= least && number <= most)) {
    const bool open = most >= static_cast<double>(std::numeric_limits<int>::max()) && !(number > most);
    complain(name,
             open ? fmt::format("a number of {} or more", least) : fmt::format("a number from {} to {}", least, most));
  }
  return number;
}

std::optional<std::string> RequestFields::text(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (!value->is_string()) complain(name, "a string");
  return value->get<std::string>();
}

std::optional<RequestFields> RequestFields::object(const char* name) const {
  const Json* value = find(name);
  if (value == nullptr) return {};
  return RequestFields(*value, at(name) + ".");
}

const Json* RequestFields::array(const char* name) const {
  const Json* value = find(name);
  if (value != nullptr && !value->is_array()) complain(name, "a list");
  return value;
}

std::string RequestFields::required_text(const char* name) const {
  if (!has(name)) complain(name, "a string");
  return *text(name);
}

std::string RequestFields::filled_text(const char* name) const {
  const std::string value = required_text(name);
  if (value.empty()) complain(name, "a string that is not empty");
  return value;
}

const Json& RequestFields::required_array(const char* name) const {
  const Json* value = array(name);
  if (value == nullptr) complain(name, "a list");
  return *value;
}

std::optional<std::string> RequestFields::word(const char* name, std::initializer_list<const char*> words) const {
  const auto value = text(name);
  if (!value) return {};
  std::string listed;
  for (const char* word : words) {
    if (*value == word) return value;
    listed += std::string(listed.empty() ? "" : ", ") + word;
  }
  complain(name, "one of " + listed);
}

void RequestFields::refuse(const char* name, const char* why, const Json& harmless) const {
  const Json* value = find(name);
  if (value == nullptr || *value == false || *value == harmless) return;
  if ((value->is_structured() || value->is_string()) && (value->empty() || *value == "")) return;
  bad_request(at(name), why);
}

std::string call_arguments(const RequestFields& call) {
  const std::string text = call.text("arguments").value_or("");
  if (text.empty()) return "{}";
  try {
    if (parse_json(text).is_object()) return text;
  } catch (const Error& error) {
    bad_request(call.at("arguments"), error.what());
  } catch (const Json::exception&) {
  }
  bad_request(call.at("arguments"), "a JSON object, written as a string, is expected");
}

}  // namespace flashmoe
