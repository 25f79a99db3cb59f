// flashmoe chat: a conversation with a model, typed or piped.
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "chat/backend.h"
#include "chat/chat_options.h"
#include "chat/chat_program.h"
#include "chat/line_editor.h"
#include "chat/plain_face.h"
#include "chat/shown_text.h"
#include "chat/signals.h"
#include "chat/terminal_face.h"
#include "commands.h"
#include "flashmoe/error.h"
#include "flashmoe/version.h"
#include "interrupt.h"
#include "model_options.h"
#include "session_options.h"
#include "terminal.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr const char* kFooter =
    "Through a pipe each line is a question or a command; answers are plain text.\n"
    "\n"
    "Examples:\n"
    "  flashmoe chat                                   the built-in model\n"
    "  flashmoe chat -m model.gguf --ram 8G --temp 0.7\n"
    "  flashmoe chat --tools --tools-dir project\n"
    "  flashmoe chat --resume last\n"
    "  flashmoe chat --connect http://127.0.0.1:8080\n"
    "  echo \"What is a monsoon?\" | flashmoe chat";

constexpr size_t kMostLine = 64U << 20U;

// Terminals that can neither move the cursor nor dim get plain text.
bool is_interactive() {
  const char* kind = std::getenv("TERM");
  return is_terminal(STDIN_FILENO) && is_terminal(STDOUT_FILENO) && kind != nullptr && kind[0] != '\0' &&
         std::strcmp(kind, "dumb") != 0;
}

// Lines of standard input, as they come.
class PipedLines {
 public:
  // Nothing at the end, or when a signal asks for one.
  std::optional<std::string> next() {
    while (true) {
      if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return line;
      }
      if (over_) return buffer_.empty() ? std::nullopt : std::optional(std::exchange(buffer_, {}));
      if (interrupt_pending()) return std::nullopt;
      pollfd ready = {STDIN_FILENO, POLLIN, 0};
      constexpr int kLookMs = 200;
      if (::poll(&ready, 1, kLookMs) > 0) fill();
    }
  }

 private:
  void fill() {
    char piece[65536];
    const ssize_t n = ::read(STDIN_FILENO, piece, sizeof(piece));
    if (n > 0) buffer_.append(piece, static_cast<size_t>(n));
    if (n == 0) over_ = true;
    if (n < 0 && errno != EINTR && errno != EAGAIN) {
      throw Error(Fault::io, fmt::format("cannot read standard input: {}", std::strerror(errno)));
    }
    if (buffer_.size() > kMostLine) throw Error(Fault::input, "standard input: a line is too long for any model");
  }
  std::string buffer_;
  bool over_ = false;
};

// In the usual folder the engine's state is kept where the chat is; that it cannot be is no reason not to chat.
void choose_sessions(ChatOptions& chat, bool chat_is_kept) {
  if (chat.no_sessions || !chat.service.sessions_folder.empty() || !chat_is_kept || !chat.url.empty()) return;
  const std::string folder = user_data_folder("sessions");
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error && ::access(folder.c_str(), W_OK | X_OK) == 0) {
    ::chmod(folder.c_str(), S_IRWXU);
    chat.service.sessions_folder = folder;
    return;
  }
  write_error("flashmoe: note: " + folder + " cannot be written to: a chat that is resumed is read again\n");
}

bool is_kept(const ChatOptions& chat, bool interactive) {
  // What is piped is kept where a chat was named to go on with.
  return !chat.no_save && (interactive || !chat.resume.empty());
}

std::unique_ptr<Backend> start_backend(ChatOptions& chat) {
  if (!chat.url.empty()) return connect_backend(chat.url, chat.api_key);
  ProgressLine progress;
  chat.engine.model_path = model_or_builtin(chat.engine.model_path);
  chat.engine.on_progress = [&](const Progress& step) {
    if (std::strcmp(step.what, "loading") == 0) progress.show(step);
  };
  auto loading = std::make_shared<std::atomic<bool>>(true);
  chat.engine.keep_going = [loading] { return !*loading || !interrupt_pending(); };
  auto backend = start_local_backend(chat.engine, chat.service);
  *loading = false;  // from here on Ctrl-C stops an answer and not the engine
  return backend;
}

TurnOptions turn_options(const ChatOptions& chat, const ToolBox& tools) {
  return {chat.generate, !chat.no_think, !tools.empty(), chat.yes, chat.tools_rounds};
}

void begin(ChatProgram& program, const ChatOptions& chat) {
  if (!chat.resume.empty()) program.resume(chat.resume);
  if (!chat.system.empty()) program.set_system(chat.system);
}

int run_piped(ChatOptions& chat, Backend& backend, const ToolBox& tools, const TranscriptStore& store) {
  StandardOutput out;
  PlainFace face(out, chat.show_think);
  ChatProgram program({backend, tools, face, store, [&](bool on) { face.show_think(on); }}, turn_options(chat, tools),
                      is_kept(chat, false));
  begin(program, chat);
  PipedLines lines;
  bool first = true;
  while (out.open() && !interrupt_pending()) {
    const auto line = lines.next();
    if (!line) break;
    if (line->find_first_not_of(" \t\r") == std::string::npos) continue;
    if (!first && !line->starts_with('/')) out.write("\n");
    first = false;
    if (!program.take(*line)) break;
  }
  return interrupt_pending() ? interrupted_exit_code() : kExitOk;
}

// Beside the chats.
std::string history_file(const TranscriptStore& store) {
  const std::string& folder = store.folder();
  const std::string parent = folder.substr(0, folder.rfind('/'));
  struct stat status = {};
  return ::stat(parent.c_str(), &status) == 0 ? parent + "/history" : "";
}

int run_interactive(ChatOptions& chat, Backend& backend, const ToolBox& tools, const TranscriptStore& store) {
  TerminalFace face(chat.show_think);
  ChatProgram program({backend, tools, face, store, [&](bool on) { face.show_think(on); }}, turn_options(chat, tools),
                      is_kept(chat, true));
  begin(program, chat);
  face.note(fmt::format("flashmoe {}, {}{}; /help lists the commands", kVersion, backend.model(),
                        tools.empty() ? "" : ", tools in " + tools.folder()));
  LineEditor editor(chat.no_save ? "" : history_file(store), [&](const std::string& before) {
    return completions(before, before.starts_with("/resume ") ? program.chat_ids() : std::vector<std::string>{});
  });
  if (!chat.resume.empty()) program.show_last_turn();
  while (!termination_seen()) {
    face.print("\n");
    const LineEditor::Input input = editor.read("\1\033[1m\1> \1\033[0m\1");
    if (input.kind == LineEditor::Input::Kind::end) break;
    if (input.kind == LineEditor::Input::Kind::cleared) continue;
    face.begin_turn();
    try {
      if (!program.take(input.text)) break;
    } catch (const Error& error) {
      face.end_answer();
      face.note(std::string("error: ") + error.what());
    }
    face.end_turn();
  }
  return termination_seen() ? interrupted_exit_code() : kExitOk;
}

int run_chat(const CLI::App& cli, ChatOptions& chat) {
  const bool interactive = is_interactive();
  check_chat_options(cli, chat, interactive);
  ToolBox tools(chat.tools_dir, chat.tool_limits);
  if (chat.tools) tools.add_own();
  if (!chat.tools_file.empty()) tools.add_file(chat.tools_file);
  const bool keeps = is_kept(chat, interactive);
  const TranscriptStore store(keeps ? user_data_folder("chats") : user_data_folder_if_any("chats"));
  remember_terminal();
  catch_chat_signals();
  choose_sessions(chat, keeps);
  const std::unique_ptr<Backend> backend = start_backend(chat);
  return interactive ? run_interactive(chat, *backend, tools, store) : run_piped(chat, *backend, tools, store);
}

}  // namespace

Command add_chat(CLI::App& cli) {
  auto chat = std::make_shared<ChatOptions>();
  CLI::App* options = cli.add_subcommand("chat", "Talk to a model");
  add_chat_options(*options, *chat);
  options->footer(kFooter);
  return {options, [options, chat] { return run_chat(*options, *chat); }};
}

}  // namespace flashmoe
