#include "text/json_call.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostBrackets = 128;  // inside each other

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

size_t JsonCall::take(std::string_view text, std::string& arguments) {
  size_t n = 0;
  for (; n < text.size() && !ended(); ++n) {
    step(text[n]);
    if (!fault_.empty()) break;  // the mark that closes the call may begin here
  }
  if (name_.empty() && !arguments_.empty()) name_ = found_name_;
  if (!name_.empty()) {
    arguments.append(arguments_, n_given_);
    n_given_ = arguments_.size();
  }
  return n;
}

void JsonCall::step(char c) {
  if (at_ == At::key_text || at_ == At::name_text) return read_text(c);
  if (at_ == At::arguments) return read_arguments(c);
  if (is_space(c)) return;
  switch (at_) {
    case At::opening:
      at_ = At::first_key;
      if (c != '{') fault_ = "expected {";
      break;
    case At::first_key:
    case At::key:
      if (c == '"') return begin_text(At::key_text);
      if (c == '}' && at_ == At::first_key) return end_object();
      fault_ = "expected a key";
      break;
    case At::colon:
      at_ = At::value;
      if (c != ':') fault_ = "expected :";
      break;
    case At::value:
      begin_value(c);
      break;
    default:
      at_ = At::key;
      if (c == '}') return end_object();
      if (c != ',') fault_ = "expected , or }";
      break;
  }
}

void JsonCall::begin_text(At at) {
  at_ = at;
  text_ = '"';
  escaped_ = false;
}

bool JsonCall::goes_on(char c) {
  const bool closes = c == '"' && !escaped_;
  escaped_ = c == '\\' && !escaped_;
  if (static_cast<unsigned char>(c) < 0x20) fault_ = "a control character stands in a string";
  return !closes;
}

void JsonCall::read_text(char c) {
  text_ += c;
  if (!goes_on(c)) end_text();
}

void JsonCall::end_text() {
  const Json json = Json::parse(text_, nullptr, false);
  if (!json.is_string()) {
    fault_ = fmt::format("{} is no JSON", text_);
    return;
  }
  const auto& text = json.get_ref<const std::string&>();
  if (at_ == At::name_text) {
    at_ = At::behind;
    found_name_ = text;
    if (text.empty()) fault_ = "the name is empty";
    return;
  }
  at_ = At::colon;
  key_ = text;
  const bool again = key_ == "name" ? !found_name_.empty() : !arguments_.empty();
  if (key_ != "name" && key_ != "arguments") {
    fault_ = fmt::format("'{}' is neither name nor arguments", key_);
  } else if (again) {
    fault_ = fmt::format("'{}' is given twice", key_);
  }
}

void JsonCall::begin_value(char c) {
  if (key_ == "name") {
    if (c == '"') return begin_text(At::name_text);
    fault_ = "the name is not a string";
    return;
  }
  at_ = At::arguments;
  if (c == '{') return read_arguments(c);
  fault_ = "the arguments are not an object";
}

void JsonCall::read_arguments(char c) {
  if (quoted_) {
    quoted_ = goes_on(c);
  } else if (c == '"') {
    quoted_ = true;
    escaped_ = false;
  } else if (c == '{' || c == '[') {
    brackets_ += c;
    if (brackets_.size() > kMostBrackets) fault_ = "the arguments are nested too deep";
  } else if (c == '}' || c == ']') {
    if (brackets_.back() != (c == '}' ? '{' : '[')) fault_ = "the arguments' brackets do not match";
    brackets_.pop_back();
  }
  if (!fault_.empty()) return;
  arguments_ += c;
  if (!brackets_.empty()) return;
  at_ = At::behind;
  has_whole_ = Json::accept(arguments_);
  if (!has_whole_) fault_ = "the arguments are no JSON";
}

void JsonCall::end_object() {
  at_ = At::end;
  if (found_name_.empty() || !has_whole_) fault_ = found_name_.empty() ? "there is no name" : "there are no arguments";
}

}  // namespace flashmoe
