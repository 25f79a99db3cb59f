#include "chat/command_line.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <memory>

namespace flashmoe {
namespace {

constexpr CommandInfo kCommands[] = {
    {ChatCommand::help, "/help", "", "This list"},
    {ChatCommand::new_chat, "/new", "", "Begin a new chat; this one is kept"},
    {ChatCommand::sessions, "/sessions", "", "List the chats that are kept"},
    {ChatCommand::resume, "/resume", "[CHAT]", "Go on with the last chat, or with an id or number", ArgumentKind::chat},
    {ChatCommand::fork, "/fork", "[N]", "Go on in a copy of this chat, or its first N turns", ArgumentKind::text},
    {ChatCommand::undo, "/undo", "", "Take back the last question and its answer"},
    {ChatCommand::retry, "/retry", "", "Answer the last question again, with the next seed"},
    {ChatCommand::system, "/system", "[TEXT|off]", "Show or set the system message", ArgumentKind::text},
    {ChatCommand::think, "/think", "[on|off|show|hide]", "Think first or not; show thoughts or not",
     ArgumentKind::choice, "on|off|show|hide"},
    {ChatCommand::tools, "/tools", "[on|off]", "List the tools; allow or forbid them", ArgumentKind::choice, "on|off"},
    {ChatCommand::save, "/save", "FILE", "Write this chat as Markdown, or JSON if FILE ends so", ArgumentKind::file},
    {ChatCommand::read, "/read", "FILE", "Send a text file along with the next question", ArgumentKind::file},
    {ChatCommand::stats, "/stats", "", "Statistics of the engine"},
    {ChatCommand::quit, "/quit", "", "End; so do Ctrl-D, and Ctrl-C where nothing is typed"},
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\r\n";
  const size_t start = text.find_first_not_of(kSpaces);
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(kSpaces) - start + 1);
}

const CommandInfo* find_command(std::string_view name) {
  const CommandInfo* found = nullptr;
  for (const CommandInfo& info : kCommands) {
    if (name == info.name) return &info;
    if (!std::string_view(info.name).starts_with(name)) continue;
    if (found != nullptr) return nullptr;
    found = &info;
  }
  return found;
}

// "dir/na" -> "dir/name", "dir/named/".
std::vector<std::string> files(const std::string& beginning) {
  const size_t slash = beginning.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : beginning.substr(0, slash + 1);
  const std::string name = beginning.substr(folder.size());
  std::string opened = folder.empty() ? "." : folder;
  const char* home = std::getenv("HOME");
  if (opened.starts_with("~/") && home != nullptr) opened = home + opened.substr(1);
  std::vector<std::string> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(::opendir(opened.c_str()), ::closedir);
  while (const dirent* entry = listing == nullptr ? nullptr : ::readdir(listing.get())) {
    const std::string candidate = entry->d_name;
    if (!candidate.starts_with(name) || (candidate[0] == '.' && name.empty())) continue;
    struct stat status = {};
    const bool is_folder = ::stat((opened + "/" + candidate).c_str(), &status) == 0 && S_ISDIR(status.st_mode);
    found.push_back(folder + candidate + (is_folder ? "/" : ""));
  }
  return found;
}

}  // namespace

std::span<const CommandInfo> all_commands() { return kCommands; }

TypedLine parse_typed(std::string_view line) {
  const std::string_view text = trimmed(line);
  // What was pasted keeps the spaces before its first line.
  const size_t first_line = text.empty() ? 0 : line.rfind('\n', static_cast<size_t>(text.data() - line.data())) + 1;
  const std::string_view whole =
      text.empty() ? text
                   : line.substr(first_line, static_cast<size_t>(text.data() + text.size() - line.data()) - first_line);
  if (text.starts_with("//")) return {TypedLine::Kind::question, nullptr, std::string(text.substr(1))};
  const size_t end = std::min(text.find_first_of(" \t\r\n"), text.size());
  const std::string_view word = text.substr(0, end);
  const bool command = word.size() > 1 && word[0] == '/' && std::isalpha(static_cast<unsigned char>(word[1])) &&
                       word.find('/', 1) == std::string_view::npos;
  if (!command) return {TypedLine::Kind::question, nullptr, std::string(whole)};
  const CommandInfo* info = find_command(word);
  if (info == nullptr) return {TypedLine::Kind::unknown_command, nullptr, std::string(word)};
  return {TypedLine::Kind::command, info, std::string(trimmed(text.substr(end)))};
}

std::vector<std::string> completions(std::string_view line, std::span<const std::string> chats) {
  std::vector<std::string> found;
  if (!line.starts_with('/')) return found;
  const size_t space = line.find(' ');
  const auto keep = [&found](std::string_view candidate, std::string_view beginning) {
    if (candidate.starts_with(beginning)) found.emplace_back(candidate);
  };
  if (space == std::string_view::npos) {
    for (const CommandInfo& info : kCommands) keep(info.name, line);
  } else if (const CommandInfo* info = find_command(line.substr(0, space)); info != nullptr) {
    const std::string_view word = line.substr(std::min(line.find_first_not_of(' ', space), line.size()));
    if (info->kind == ArgumentKind::file) found = files(std::string(word));
    if (info->kind == ArgumentKind::chat) {
      for (const std::string& chat : chats) keep(chat, word);
    }
    if (info->kind == ArgumentKind::choice) {
      std::string_view choices = info->choices;
      while (!choices.empty()) {
        const size_t end = std::min(choices.find('|'), choices.size());
        keep(choices.substr(0, end), word);
        choices.remove_prefix(std::min(end + 1, choices.size()));
      }
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace flashmoe
