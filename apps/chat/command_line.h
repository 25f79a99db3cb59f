// What was typed: a question, or a command.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flashmoe {

enum class ChatCommand {
  help,
  new_chat,
  sessions,
  resume,
  fork,
  undo,
  retry,
  system,
  think,
  tools,
  save,
  read,
  stats,
  quit
};

enum class ArgumentKind { none, text, file, chat, choice };

struct CommandInfo {
  ChatCommand command;
  const char* name;       // "/read"
  const char* arguments;  // "FILE", "[on|off]"; as /help shows them
  const char* help;
  ArgumentKind kind = ArgumentKind::none;
  const char* choices = "";  // separated by |
};

std::span<const CommandInfo> all_commands();

struct TypedLine {
  enum class Kind { question, command, unknown_command };
  Kind kind = Kind::question;
  const CommandInfo* command = nullptr;
  std::string text;  // the question, or the command's argument without spaces around it, or the unknown name
};

// A line that begins with "/" and a letter and has no further "/" in its first word is a command; "//" begins a
// question that starts with "/". A beginning that only one command has means that command.
TypedLine parse_typed(std::string_view line);

// What the last word of `line` may become, each as the whole word; `chats` are ids. Sorted.
std::vector<std::string> completions(std::string_view line, std::span<const std::string> chats);

}  // namespace flashmoe
