// The options of flashmoe chat.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "chat/tool_box.h"
#include "flashmoe/options.h"
#include "flashmoe/service.h"

namespace flashmoe {

struct ChatOptions {
  EngineOptions engine;
  ServiceOptions service;
  GenerateOptions generate;
  std::string system, resume;
  bool no_think = false, show_think = false, no_save = false, no_sessions = false;
  bool tools = false, yes = false;
  std::string tools_file, tools_dir = ".";
  ChildLimits tool_limits;
  int tools_rounds = 20;
  std::string url, api_key;
};

void add_chat_options(CLI::App& cli, ChatOptions& chat);

// What only shows once all options are read; takes the key from the environment if it is not given. Throws
// Error{usage}.
void check_chat_options(const CLI::App& cli, ChatOptions& chat, bool can_confirm);

}  // namespace flashmoe
