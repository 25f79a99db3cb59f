// The tools a model may call: four of our own, and those of a file.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chat/child_process.h"
#include "chat/confined_folder.h"
#include "chat/conversation.h"

namespace flashmoe {

class ToolBox {
 public:
  // `limits`: of commands; of a file the model is shown as much as of a stream. Throws Error{usage} if `folder` is not
  // a folder.
  ToolBox(const std::string& folder, const ChildLimits& limits);

  void add_own();  // bash, read_file, write_file, list_dir
  // {"tools": [{"name", "description", "parameters", "command", "seconds"}]}. Throws Error{input} with file and tool.
  void add_file(const std::string& path);

  bool empty() const { return tools_.empty(); }
  Json definitions() const;  // OpenAI's "tools"
  struct Description {
    std::string name, text;
  };
  std::vector<Description> descriptions() const;
  const std::string& folder() const { return folder_.path(); }

  // What the user is asked about: "bash: ls -l", "read_file: notes.txt". May hold anything the model wrote.
  std::string shown(const ToolCall& call) const;
  // What "always" allows: for bash and tools of a file this very call, for the others all calls of the tool.
  std::string permission(const ToolCall& call) const;
  // Why a call cannot even be asked about (no such tool, arguments missing or of the wrong type); nothing if it can.
  std::optional<std::string> complaint(const ToolCall& call) const;
  // Never throws for what a call does wrong: the text tells the model.
  std::string run(const ToolCall& call, const std::function<bool()>& keep_going) const;

 private:
  enum class Kind { bash, read_file, write_file, list_dir, command };
  struct Tool {
    Kind kind = Kind::command;
    std::string name, description;
    Json parameters;
    std::vector<std::string> argv;  // of a tool of a file
    int seconds = 0;
  };
  void add(Tool tool);
  Tool read_tool(const Json& json, const std::string& path) const;
  const Tool* find(const std::string& name) const;
  std::string run_command(const Tool& tool, const ToolCall& call, const Json& arguments,
                          const std::function<bool()>& keep_going) const;
  std::string read_file(const std::string& path) const;
  std::string list_dir(const std::string& path) const;

  ConfinedFolder folder_;
  ChildLimits limits_;
  std::vector<Tool> tools_;
};

}  // namespace flashmoe
