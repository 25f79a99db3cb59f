// What a chat does with each line: questions go to the model, commands to what they name.
#pragma once

#include <string>

#include "chat/backend.h"
#include "chat/command_line.h"
#include "chat/face.h"
#include "chat/tool_box.h"
#include "chat/transcript_store.h"
#include "chat/turn.h"

namespace flashmoe {

class ChatProgram {
 public:
  struct Parts {
    Backend& backend;
    const ToolBox& tools;
    Face& face;
    const TranscriptStore& store;
    std::function<void(bool)> show_think;  // of the face
  };
  // `keep`: chats are saved as they grow.
  ChatProgram(Parts parts, TurnOptions options, bool keep);

  void set_system(const std::string& text);
  // Throws Error{input} when there is no such chat.
  void resume(const std::string& name);
  void show_last_turn();
  // A line, typed or piped; false: it asked for the end. Throws Error for what could not be done; the chat goes on.
  bool take(const std::string& line);
  std::vector<std::string> chat_ids() const;

 private:
  bool run_command(const CommandInfo& info, const std::string& argument);
  void question(const std::string& text);
  void answer();
  void save();
  void new_chat();
  void list_sessions();
  void fork(const std::string& argument);
  void undo();
  void retry();
  void show_system(const std::string& argument);
  void think(const std::string& argument);
  void tools(const std::string& argument);
  void export_chat(const std::string& path);
  void read_file(const std::string& path);

  Parts parts_;
  TurnOptions options_;
  bool keep_;
  TurnRunner runner_;
  Transcript transcript_;
  std::string attached_;  // files for the next question
};

}  // namespace flashmoe
