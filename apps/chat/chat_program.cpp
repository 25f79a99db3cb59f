#include "chat/chat_program.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "chat/shown_text.h"
#include "flashmoe/error.h"
#include "output_file.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr int kTitleColumns = 44;
constexpr size_t kMostAttached = 8U << 20U;

// "~/x" is in the user's home, as in a shell.
std::string expand_home(const std::string& path) {
  const char* home = std::getenv("HOME");
  return path.starts_with("~/") && home != nullptr ? home + path.substr(1) : path;
}

std::string quoted_file(const std::string& path, const std::string& text) {
  std::string fence = "```";
  while (text.find(fence) != std::string::npos) fence += '`';
  return fmt::format("{}:\n{}\n{}{}{}\n\n", path, fence, text, text.ends_with('\n') ? "" : "\n", fence);
}

[[noreturn]] void expect_choice(const char* command, const char* choices, const std::string& argument) {
  throw Error(Fault::usage, fmt::format("{}: {} is expected, not '{}'", command, choices, argument));
}

std::string counted(int64_t n, const char* what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); }

}  // namespace

ChatProgram::ChatProgram(Parts parts, TurnOptions options, bool keep)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      keep_(keep),
      runner_(parts_.backend, parts_.tools, parts_.face) {
  new_chat();
}

void ChatProgram::new_chat() {
  const std::string system = transcript_.conversation.system();
  transcript_ = {};
  transcript_.id = parts_.store.new_id();
  transcript_.model = parts_.backend.model();
  transcript_.conversation.set_system(system);
  attached_.clear();
}

void ChatProgram::set_system(const std::string& text) { transcript_.conversation.set_system(text); }

void ChatProgram::resume(const std::string& name) {
  Transcript found = parts_.store.find(name);
  transcript_ = std::move(found);
  close_calls(transcript_.conversation);
  if (transcript_.model != parts_.backend.model()) {
    parts_.face.note(
        fmt::format("this chat was with {}, and goes on with {}", transcript_.model, parts_.backend.model()));
  }
  transcript_.model = parts_.backend.model();
  attached_.clear();
}

void ChatProgram::save() {
  if (!keep_) return;
  if (transcript_.conversation.empty()) return parts_.store.remove(transcript_.id);
  parts_.store.save(transcript_);
}

bool ChatProgram::take(const std::string& line) {
  const TypedLine typed = parse_typed(line);
  switch (typed.kind) {
    case TypedLine::Kind::question:
      if (!typed.text.empty()) question(typed.text);
      return true;
    case TypedLine::Kind::unknown_command:
      throw Error(Fault::usage, fmt::format("there is no command {}; /help lists them", typed.text));
    case TypedLine::Kind::command:
      break;
  }
  const bool needs = typed.command->kind == ArgumentKind::file;
  if (needs && typed.text.empty())
    throw Error(Fault::usage, fmt::format("{} FILE: a file is missing", typed.command->name));
  if (typed.command->kind == ArgumentKind::none && !typed.text.empty()) {
    throw Error(Fault::usage, fmt::format("{} takes no argument", typed.command->name));
  }
  return run_command(*typed.command, typed.text);
}

bool ChatProgram::run_command(const CommandInfo& info, const std::string& argument) {
  switch (info.command) {
    case ChatCommand::help:
      for (const CommandInfo& each : all_commands()) {
        parts_.face.print(fmt::format("  {:<26}{}\n", fmt::format("{} {}", each.name, each.arguments), each.help));
      }
      break;
    case ChatCommand::new_chat:
      new_chat();
      parts_.face.note("a new chat");
      break;
    case ChatCommand::sessions:
      list_sessions();
      break;
    case ChatCommand::resume:
      resume(argument.empty() ? "last" : argument);
      show_last_turn();
      break;
    case ChatCommand::fork:
      fork(argument);
      break;
    case ChatCommand::undo:
      undo();
      break;
    case ChatCommand::retry:
      retry();
      break;
    case ChatCommand::system:
      show_system(argument);
      break;
    case ChatCommand::think:
      think(argument);
      break;
    case ChatCommand::tools:
      tools(argument);
      break;
    case ChatCommand::save:
      export_chat(expand_home(argument));
      break;
    case ChatCommand::read:
      read_file(expand_home(argument));
      break;
    case ChatCommand::stats:
      parts_.face.print(parts_.backend.stats_text());
      break;
    case ChatCommand::quit:
      return false;
  }
  return true;
}

void ChatProgram::question(const std::string& text) {
  transcript_.conversation.add_user(attached_ + text);
  attached_.clear();
  answer();
}

void ChatProgram::answer() {
  Conversation& conversation = transcript_.conversation;
  try {
    runner_.run(conversation, options_, [this] { save(); });
  } catch (const Error&) {
    // The template wants an answer behind each question.
    if (!conversation.messages().empty() && conversation.messages().back()["role"] == "user") conversation.undo();
    throw;
  }
}

void ChatProgram::list_sessions() {
  const TranscriptStore::Listing listing = parts_.store.list();
  for (const TranscriptStore::Damaged& each : listing.damaged) parts_.face.note("skipped: " + each.what);
  if (listing.transcripts.empty()) return parts_.face.note(parts_.store.none_kept());
  int number = 0;
  for (const Transcript& each : listing.transcripts) {
    ++number;
    const std::string when = fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(static_cast<std::time_t>(each.updated_s)));
    parts_.face.print(fmt::format("{}{:>3}  {}  {:>9}  {}\n", each.id == transcript_.id ? "*" : " ", number, when,
                                  counted(each.conversation.n_turns(), "turn"),
                                  shortened(each.conversation.title(), kTitleColumns)));
  }
}

void ChatProgram::show_last_turn() {
  const Conversation& conversation = transcript_.conversation;
  parts_.face.note(fmt::format("chat {}, {}; the last one:", transcript_.id, counted(conversation.n_turns(), "turn")));
  const Json& messages = conversation.messages();
  size_t at = messages.size();
  while (at > 0 && messages[at - 1]["role"] != "user") --at;
  for (at = at == 0 ? 0 : at - 1; at < messages.size(); ++at) {
    const std::string role = messages[at]["role"], text = messages[at].value("content", std::string());
    if (role == "user") parts_.face.print("> " + text + "\n\n");
    if (role != "assistant" || text.empty()) continue;
    parts_.face.content(text);
    parts_.face.end_answer();
  }
}

void ChatProgram::fork(const std::string& argument) {
  const int n_turns = transcript_.conversation.n_turns();
  int n = n_turns;
  if (!argument.empty()) {
    const char* const end = argument.data() + argument.size();
    const auto read = std::from_chars(argument.data(), end, n);
    if (read.ec != std::errc() || read.ptr != end || n < 0 || n > n_turns) {
      throw Error(Fault::usage, fmt::format("/fork: this chat has {}, not '{}'", counted(n_turns, "turn"), argument));
    }
  }
  save();
  transcript_.forked_from = std::exchange(transcript_.id, parts_.store.new_id());
  transcript_.conversation.keep_turns(n);
  save();
  parts_.face.note(fmt::format("chat {}, a copy of {} with {} of its {}", transcript_.id, transcript_.forked_from, n,
                               counted(n_turns, "turn")));
}

void ChatProgram::undo() {
  if (transcript_.conversation.empty()) throw Error(Fault::usage, "/undo: there is nothing to take back");
  const std::string text = transcript_.conversation.undo();
  save();
  parts_.face.note("taken back: " + shortened(text, 60));
}

void ChatProgram::retry() {
  Conversation before = transcript_.conversation;
  if (!transcript_.conversation.forget_answer()) throw Error(Fault::usage, "/retry: there is no question yet");
  ++options_.generate.sampling.seed;
  if (options_.generate.sampling.temperature == 0) {
    parts_.face.note("at temperature 0 the answer will be the same; start with --temp 0.7 for others");
  }
  try {
    answer();
  } catch (const Error&) {
    transcript_.conversation = std::move(before);
    throw;
  }
}

void ChatProgram::show_system(const std::string& argument) {
  Conversation& conversation = transcript_.conversation;
  if (!argument.empty()) {
    conversation.set_system(argument == "off" ? "" : argument);
    save();
  }
  const std::string system = conversation.system();
  parts_.face.note(system.empty() ? "no system message" : "system: " + system);
}

void ChatProgram::think(const std::string& argument) {
  if (argument == "on" || argument == "off") {
    options_.think = argument == "on";
  } else if (argument == "show" || argument == "hide") {
    parts_.show_think(argument == "show");
  } else if (!argument.empty()) {
    expect_choice("/think", "on, off, show or hide", argument);
  }
  if (argument == "show" || argument == "hide") return parts_.face.note("thoughts: " + argument);
  parts_.face.note(options_.think ? "the model may think first" : "the model answers at once");
}

void ChatProgram::tools(const std::string& argument) {
  if (!argument.empty() && argument != "on" && argument != "off") expect_choice("/tools", "on or off", argument);
  if (parts_.tools.empty()) throw Error(Fault::usage, "/tools: start with --tools or --tools-file to have any");
  if (!argument.empty()) options_.tools = argument == "on";
  for (const ToolBox::Description& tool : parts_.tools.descriptions()) {
    parts_.face.print(fmt::format("  {:<14}{}\n", tool.name, tool.text));
  }
  parts_.face.note(fmt::format("tools are {}; they work in {}", options_.tools ? "on" : "off", parts_.tools.folder()));
}

void ChatProgram::export_chat(const std::string& path) {
  if (transcript_.conversation.messages().empty())
    throw Error(Fault::usage, "/save: there is nothing in this chat yet");
  struct stat status = {};
  if (::lstat(path.c_str(), &status) == 0) throw Error(Fault::usage, path + ": is there already; choose another name");
  OutputFile file(path);
  const Conversation& conversation = transcript_.conversation;
  file.write(path.ends_with(".json") ? dump({{"messages", conversation.messages()}}, 1) + "\n"
                                     : conversation.markdown());
  file.commit();
  parts_.face.note("written to " + path);
}

void ChatProgram::read_file(const std::string& path) {
  if (path == "-") throw Error(Fault::usage, "/read: a file is expected, not standard input");
  const std::string text = read_regular_text(path);
  if (text.find('\0') != std::string::npos) throw Error(Fault::input, path + ": is not a text file");
  if (attached_.size() + text.size() > kMostAttached) throw Error(Fault::input, path + ": is too long for a chat");
  attached_ += quoted_file(path, text);
  const int64_t n_lines = std::count(text.begin(), text.end(), '\n') + (text.ends_with('\n') ? 0 : 1);
  parts_.face.note(fmt::format("{}: {} for the next question", path, counted(n_lines, "line")));
}

std::vector<std::string> ChatProgram::chat_ids() const {
  std::vector<std::string> ids;
  for (const Transcript& each : parts_.store.list().transcripts) ids.push_back(each.id);
  return ids;
}

}  // namespace flashmoe
