#include "chat/chat_options.h"

#include <fmt/format.h>

#include <cstdlib>

#include "answer_options.h"
#include "flashmoe/error.h"
#include "model_options.h"
#include "option_values.h"
#include "session_options.h"

namespace flashmoe {
namespace {

constexpr const char* kToolsGroup = "Tools";
constexpr const char* kEngineGroup = "Memory and speed";  // of add_model_options
constexpr const char* kKeyVariable = "FLASHMOE_API_KEY";

void add_tool_options(CLI::App& cli, ChatOptions& chat) {
  cli.add_flag("--tools", chat.tools,
               "Let the model call bash, read_file, write_file and list_dir; each call is asked about")
      ->group(kToolsGroup);
  cli.add_option("--tools-file", chat.tools_file, "Let it call the tools of a JSON file, each of which names a command")
      ->option_text("FILE")
      ->check(not_empty)
      ->group(kToolsGroup);
  cli.add_option("--tools-dir", chat.tools_dir,
                 "The folder that the file tools cannot leave and commands start in; default: the current one")
      ->option_text("DIR")
      ->check(not_empty)
      ->group(kToolsGroup);
  add_number(cli, "--tools-seconds", chat.tool_limits.seconds, 1, 86400, "Longest time of a command; default: 60")
      ->group(kToolsGroup);
  add_size(cli, "--tools-output", chat.tool_limits.output_bytes,
           "Most output of a call that the model is shown; default: 32K")
      ->group(kToolsGroup);
  add_number(cli, "--tools-rounds", chat.tools_rounds, 1, 1000,
             "Most rounds of calls before it is your turn again; default: 20")
      ->group(kToolsGroup);
  cli.add_flag("--yes", chat.yes, "Run every call unasked")->group(kToolsGroup);
}

}  // namespace

void add_chat_options(CLI::App& cli, ChatOptions& chat) {
  cli.add_option("--system", chat.system, "The system message")->option_text("TEXT");
  cli.add_option("--resume", chat.resume, "Go on with a chat: an id, its number in /sessions, or last")
      ->option_text("CHAT")
      ->check(expect("a chat"));
  CLI::Option* no_save = cli.add_flag("--no-save", chat.no_save, "Keep neither the chat nor what is typed");
  CLI::Option* sessions = add_session_options(
      cli, chat.service,
      "$XDG_DATA_HOME/flashmoe/sessions or ~/.local/share/flashmoe/sessions, for chats that are kept");
  sessions->excludes(no_save);
  cli.add_flag("--no-sessions", chat.no_sessions, "Keep chats as text alone: one that is resumed is read again")
      ->excludes(sessions);
  cli.get_option("--sessions-size")->excludes("--no-save")->excludes("--no-sessions");
  cli.add_flag("--no-think", chat.no_think, "Ask for answers without thinking first");
  cli.add_flag("--show-think", chat.show_think, "Show what the model thinks, dimmed");
  cli.add_option("--connect", chat.url, "Chat with a running flashmoe serve, such as http://127.0.0.1:8080")
      ->option_text("URL")
      ->check(expect("a URL"));
  add_chat_template(cli, chat.engine)->excludes("--connect");
  cli.add_option("--api-key", chat.api_key, "The server's key; default: what FLASHMOE_API_KEY says")
      ->option_text("KEY")
      ->needs("--connect");
  add_answer_options(cli, chat.generate);
  add_tool_options(cli, chat);
  add_model_options(cli, chat.engine);
}

void check_chat_options(const CLI::App& cli, ChatOptions& chat, bool can_confirm) {
  check_answer_options(chat.generate);
  const bool has_tools = chat.tools || !chat.tools_file.empty();
  if (has_tools && !chat.yes && !can_confirm) {
    throw Error(Fault::usage, fmt::format("{}: there is no terminal to confirm calls on; --yes runs them unasked",
                                          chat.tools ? "--tools" : "--tools-file"));
  }
  for (const CLI::Option* option : cli.get_options()) {
    if (has_tools || option->get_group() != kToolsGroup || option->count() == 0) continue;
    throw Error(Fault::usage,
                fmt::format("--{} has no meaning without --tools or --tools-file", option->get_lnames().front()));
  }
  if (chat.url.empty()) return;
  for (const CLI::Option* option : cli.get_options()) {
    const bool of_engine = option->get_group() == kEngineGroup || option->check_lname("model") ||
                           option->check_lname("sessions") || option->check_lname("sessions-size") ||
                           option->check_lname("no-sessions");
    if (of_engine && option->count() > 0) {
      throw Error(Fault::usage, fmt::format("--{} has no meaning with --connect: the server has the model",
                                            option->get_lnames().front()));
    }
  }
  const char* key = std::getenv(kKeyVariable);
  if (chat.api_key.empty() && key != nullptr) chat.api_key = key;
}

}  // namespace flashmoe
