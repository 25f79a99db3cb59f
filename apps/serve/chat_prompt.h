// The parts that all chat APIs share: turns, tools and thinking, as the chat template wants them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "flashmoe/service.h"
#include "serve/request_fields.h"
#include "tool_call.h"

namespace flashmoe {

enum class ToolChoice { automatic, none, required, named };

class ChatPrompt {
 public:
  // System turns at the start become one; later ones are the template's to judge.
  void add_system(const std::string& text);
  void add_user(const std::string& text);
  // Turns of the assistant that follow each other become one.
  void add_assistant(const std::string& text, const std::string& thinking, const std::vector<ToolCall>& calls);
  void add_tool_result(const std::string& call_id, const std::string& text);

  // Its "name" and "description", and a JSON schema in the field `parameters`, if there is one. Throws ApiError 400 for
  // a name that no API has, or that another tool has.
  void add_tool(const RequestFields& tool, const char* parameters);
  // After all tools. Throws ApiError 400 for a name that is no tool of the request, or a choice without tools.
  void choose_tool(ToolChoice choice, const std::string& name, const char* field);

  void think(bool on) { extra_["enable_thinking"] = on; }
  // More for the template.
  void set_extra(const Json& extra) { extra_.update(extra); }

  bool empty() const { return messages_.empty(); }
  // Fills chat_json, and the constraint if a tool must be called.
  void write_to(Request& request) const;

 private:
  bool has_tool(const std::string& name) const;

  Json messages_ = Json::array(), tools_ = Json::array(), extra_ = Json::object();
  Constraint constraint_;
  bool leading_ = true;  // only system turns so far
};

// "none", "minimal": no thinking; "low", "medium": at most so many tokens; "high" and above: as many as it likes.
void apply_effort(const std::string& effort, ChatPrompt& prompt, Request& request);

// "chat_template_kwargs": names and values that the template reads beside the messages.
void read_template_arguments(const RequestFields& fields, ChatPrompt& prompt);

// Text of a "content": a string, or parts of which each is text. Throws ApiError 400 for images, audio and files.
std::string content_text(const Json& content, const std::string& where);

// The "content" of a message that has nothing else to say. Throws ApiError 400, also where it is missing.
std::string required_content(const RequestFields& message);

// "json_object", or "json_schema" with `schema`.
Constraint json_constraint(const std::string& kind, const Json* schema, const std::string& field);

}  // namespace flashmoe
