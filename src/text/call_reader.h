// One tool call while it is being written: either form in, JSON arguments out, each as soon as it is certain.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/argument_schema.h"
#include "text/json_call.h"

namespace flashmoe {

// Reads what follows <tool_call>, as text/tool_calls.h does; what that refuses behind the function's name is skipped.
class CallReader {
 public:
  explicit CallReader(const nlohmann::ordered_json& tools) : tools_(&tools) {}

  // Takes more text, whole characters; the arguments' JSON that is now certain is appended to `arguments`. Returns how
  // much of the text belongs to the call: all of it, until the call has ended.
  size_t push(std::string_view text, std::string& arguments);

  bool named() const { return !name_.empty(); }
  const std::string& name() const { return name_; }
  bool closed() const { return closed_; }            // </tool_call> was read
  bool whole() const { return closed_ && whole_; }   // and the arguments are a JSON object
  bool failed() const { return failed_; }            // this is no call; what was read is in text()
  const std::string& text() const { return text_; }  // all that was pushed, without <tool_call>

 private:
  enum class At { opening, json, between, value, behind };
  bool open();
  bool json(std::string& arguments);
  bool between(std::string& arguments);
  bool value(std::string& arguments);
  bool behind();
  bool take_name(std::string_view tag, std::string& name);
  void give(size_t n, std::string& arguments);
  void end_value(size_t n, std::string& arguments);
  void skip_space();
  // The unread text begins with the tag. `undecided` is set where it may still come to.
  bool begins(std::string_view tag, bool& undecided) const;
  std::string_view rest() const { return std::string_view(text_).substr(read_); }

  const nlohmann::ordered_json* tools_;
  std::string text_;
  size_t read_ = 0;
  At at_ = At::opening;
  std::optional<JsonCall> json_;
  ArgumentSchema schema_;             // of key_
  std::string name_, key_, pending_;  // pending_: a value that is not plain text, so far
  bool plain_ = false, value_begun_ = false, repeated_ = false;
  bool closed_ = false, whole_ = true, failed_ = false;
  std::vector<std::string> keys_;
};

}  // namespace flashmoe
