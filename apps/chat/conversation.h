// The messages of a chat, in OpenAI's shape.
#pragma once

#include <string>
#include <vector>

#include "json.h"
#include "tool_call.h"

namespace flashmoe {

// What came of one request to the model.
struct Reply {
  std::string thinking, content;
  std::vector<ToolCall> calls;
};

class Conversation {
 public:
  Conversation() : messages_(Json::array()) {}
  // Throws Error{input} unless these are messages as this class makes them.
  explicit Conversation(Json messages);

  const Json& messages() const { return messages_; }
  bool empty() const { return n_turns() == 0; }
  int n_turns() const;  // questions of the user
  // The first line of the first question; empty before there is one.
  std::string title() const;
  std::string system() const;
  void set_system(const std::string& text);  // empty: none

  void add_user(const std::string& text);
  void add_reply(const Reply& reply);
  void add_tool_result(const ToolCall& call, const std::string& text);

  // Takes the last question and all that followed away; its text, or nothing.
  std::string undo();
  // Takes away what followed the last question; false if there is none.
  bool forget_answer();
  // Keeps the first n turns.
  void keep_turns(int n);
  // Calls of the last message that have no result yet.
  std::vector<ToolCall> open_calls() const;

  // `think`: off asks the model to answer at once.
  std::string request_json(const Json& tools, bool think) const;
  // As a document for people.
  std::string markdown() const;

 private:
  size_t last_question() const;  // messages_.size(): none
  Json messages_;                // [{role, content, ...}]
};

}  // namespace flashmoe
