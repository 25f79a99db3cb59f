#include "chat/line_editor.h"

#include <fcntl.h>
#include <histedit.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "chat/key_sequence.h"
#include "chat/shown_text.h"
#include "chat/signals.h"
#include "chat/styled_line.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr unsigned char kControlC = 3, kControlZ = 26, kEscape = 27;
constexpr int kPromptColumns = 2;
constexpr int kHistoryLines = 1000;
constexpr int kLookMs = 200;  // how soon a signal or a resize that came between two looks is seen
constexpr wint_t kReplacement = 0xFFFD;
constexpr std::wstring_view kPasteEnd = L"\033[201~";
constexpr size_t kMostPasted = 4U << 20U;
constexpr size_t kMostKeyBytes = 64;  // of one key; what is longer is no key
constexpr std::pair<const char*, const char*> kModifiedKeys[] = {
    {"\033[1;5C", "em-next-word"},       {"\033[1;3C", "em-next-word"},   {"\033[1;5D", "ed-prev-word"},
    {"\033[1;3D", "ed-prev-word"},       {"\033[1;5H", "ed-move-to-beg"}, {"\033[1;5F", "ed-move-to-end"},
    {"\033[3;5~", "em-delete-next-word"}};

// Typed text is UTF-8 also where the locale says nothing of it.
void use_utf8() {
  const char* chosen = std::setlocale(LC_CTYPE, "");
  if (chosen == nullptr || MB_CUR_MAX < 4) std::setlocale(LC_CTYPE, "C.UTF-8");
}

std::string to_utf8(std::wstring_view wide) {
  std::string out;
  for (const wchar_t character : wide) {
    const auto code = static_cast<uint32_t>(character);
    const auto add = [&out](uint32_t byte) { out += static_cast<char>(byte); };
    if (code < 0x80) {
      add(code);
    } else if (code < 0x800) {
      add(0xC0 | code >> 6), add(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      add(0xE0 | code >> 12), add(0x80 | (code >> 6 & 0x3F)), add(0x80 | (code & 0x3F));
    } else {
      add(0xF0 | code >> 18), add(0x80 | (code >> 12 & 0x3F)), add(0x80 | (code >> 6 & 0x3F));
      add(0x80 | (code & 0x3F));
    }
  }
  return out;
}

std::string common_beginning(const std::vector<std::string>& words) {
  std::string common = words.front();
  for (const std::string& word : words) {
    size_t n = 0;
    while (n < common.size() && n < word.size() && common[n] == word[n]) ++n;
    common.resize(n);
  }
  return common;
}

}  // namespace

struct LineEditor::Editor {
  EditLine* line = nullptr;
  History* history = nullptr;
  std::string history_file;
  std::function<std::vector<std::string>(const std::string&)> complete;
  std::string prompt;
  std::string key, ahead;  // what a key sent, and what of it libedit has not read yet
  winsize size = {};       // of the terminal when the prompt was last drawn
  bool interrupted = false, was_empty = false, gone = false, pasting = false;

  static Editor& of(EditLine* line) {
    void* self = nullptr;
    el_get(line, EL_CLIENTDATA, &self);
    return *static_cast<Editor*>(self);
  }

  bool is_empty() const {
    const LineInfoW* info = el_wline(line);
    return info->lastchar == info->buffer;
  }

  int interrupt() {
    was_empty = is_empty();
    interrupted = true;
    return -1;
  }

  // Before the prompt is seen. Ctrl-C and Ctrl-Z are keys and no signals: a paste may have them in it, as it may have
  // carriage returns.
  void take_keys() const {
    el_set(line, EL_PREP_TERM, 1);
    termios mode = {};
    if (tcgetattr(STDIN_FILENO, &mode) != 0) return;
    mode.c_lflag &= ~static_cast<tcflag_t>(ISIG);
    mode.c_iflag &= ~static_cast<tcflag_t>(ICRNL | INLCR | IGNCR | IXON);
    tcsetattr(STDIN_FILENO, TCSANOW, &mode);
  }

  // Whether the terminal has another size than when this was last asked. Its signal would not do: it may come when a
  // prompt of the new size is there.
  bool take_resize() {
    winsize now = {};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &now) != 0 || now.ws_col == 0) return false;
    const bool same = now.ws_col == size.ws_col && now.ws_row == size.ws_row;
    size = now;
    return !same;
  }

  // libedit draws anew from where the cursor is: that must be where the prompt begins.
  void redraw_resized() const {
    const LineInfoW* info = el_wline(line);
    const std::string before = to_utf8({info->buffer, static_cast<size_t>(info->cursor - info->buffer)});
    int up = 0;
    for (size_t start = 0; start <= before.size();) {
      const size_t end = std::min(before.find('\n', start), before.size());
      const int columns = (start == 0 ? kPromptColumns : 0) + columns_of(before.substr(start, end - start));
      up += columns / size.ws_col + (end < before.size() ? 1 : 0);
      start = end + 1;
    }
    up = std::min(up, size.ws_row - 1);
    const std::string to_start = up > 0 ? "\033[" + std::to_string(up) + "A" : "";
    write_all(STDOUT_FILENO, "\r" + to_start + "\033[J", "standard output");
    el_resize(line);
    el_set(line, EL_REFRESH);
  }

  // Out of the way while the shell has the terminal.
  void suspend() {
    leave_paste_mode();
    el_set(line, EL_PREP_TERM, 0);
    ::raise(SIGTSTP);
    take_keys();
    enter_paste_mode();
    el_set(line, EL_REFRESH);
  }

  void enter_paste_mode() const { write_all(STDOUT_FILENO, "\033[?2004h", "standard output"); }
  void leave_paste_mode() const { write_all(STDOUT_FILENO, "\033[?2004l", "standard output"); }

  // One byte; -1: Ctrl-C ends the line, 0: the terminal is gone. A byte of a paste is never a key.
  int next_byte(unsigned char* byte) {
    while (true) {
      if (termination_seen()) return gone = true, 0;
      if (take_interrupt()) return interrupt();
      if (take_resize()) redraw_resized();
      pollfd ready = {STDIN_FILENO, POLLIN, 0};
      if (::poll(&ready, 1, kLookMs) <= 0) continue;
      const ssize_t n = ::read(STDIN_FILENO, byte, 1);
      if (n == 1 && *byte == kControlC && !pasting) return interrupt();
      if (n == 1 && *byte == kControlZ && !pasting) {
        suspend();
        continue;
      }
      if (n == 1) return 1;
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      return gone = true, 0;
    }
  }

  // libedit says it only in print: the binding, or a complaint that there is none.
  bool is_bound(std::string_view keys) const {
    std::string escaped;
    for (const char byte : keys) {
      if (byte == '\\' || byte == '^') escaped += '\\';
      escaped += byte;
    }
    char* text = nullptr;
    size_t n = 0;
    FILE* told = ::open_memstream(&text, &n);
    if (told == nullptr) return false;
    el_set(line, EL_SETFP, 1, told), el_set(line, EL_SETFP, 2, told);
    bind(escaped.c_str(), nullptr);
    el_set(line, EL_SETFP, 1, stdout), el_set(line, EL_SETFP, 2, stderr);
    std::fclose(told);
    const bool bound = n > 0 && text[0] == '"';
    std::free(text);
    return bound;
  }

  // The rest of what a key sends, whole: libedit would take the end of a key that it does not know for typed text.
  int read_key() {
    std::string keys(1, kEscape);
    do {
      unsigned char byte = 0;
      if (const int got = next_byte(&byte); got != 1) return got;
      if (byte == kEscape && is_control_sequence(keys)) keys.clear();  // another key cuts this one short
      if (keys.size() == kMostKeyBytes) keys.pop_back();
      keys += static_cast<char>(byte);
    } while (goes_on(keys));
    if (is_control_sequence(keys)) {
      while (!is_bound(keys)) {  // without Alt, which some terminals tell by one more escape
        keys.erase(0, 1);
        if (!keys.starts_with(kEscape)) return 1;
      }
    }
    key = ahead = keys;
    return 1;
  }

  int next_key_byte(unsigned char* byte) {
    while (ahead.empty()) {
      if (const int got = next_byte(byte); got != 1 || *byte != kEscape || pasting) return got;
      if (const int got = read_key(); got != 1) return got;
    }
    *byte = static_cast<unsigned char>(ahead.front());
    ahead.erase(0, 1);
    return 1;
  }

  // When the prompt is drawn before a key was read to its end, its escape alone ended a search: the key comes after it.
  static char* shown_prompt(EditLine* line) {
    Editor& self = of(line);
    if (!self.ahead.empty() && is_control_sequence(self.key)) self.ahead = self.key;
    return self.prompt.data();
  }

  static int next_character(EditLine* line, wchar_t* character) {
    Editor& self = of(line);
    unsigned char byte = 0;
    if (const int got = self.next_key_byte(&byte); got != 1) return got;
    const int n_more = byte < 0x80 ? 0 : byte >= 0xF0 && byte < 0xF8 ? 3 : byte >= 0xE0 ? 2 : byte >= 0xC2 ? 1 : -1;
    if (n_more == 0) return *character = byte, 1;
    *character = static_cast<wchar_t>(kReplacement);
    if (n_more < 0) return 1;
    uint32_t code = byte & (0x3FU >> n_more);
    for (int i = 0; i < n_more; ++i) {
      if (const int got = self.next_byte(&byte); got != 1) return got;
      if ((byte & 0xC0) != 0x80) return 1;
      code = code << 6 | (byte & 0x3F);
    }
    if (code <= 0x10FFFF && (code < 0xD800 || code >= 0xE000)) *character = static_cast<wchar_t>(code);
    return 1;
  }

  // All up to the end mark, as it is; lines end in newlines, other control characters are dropped.
  static unsigned char paste(EditLine* line, int) {
    std::wstring text;
    wchar_t character = 0;
    of(line).pasting = true;
    while (!text.ends_with(kPasteEnd)) {
      if (el_wgetc(line, &character) != 1) return CC_EOF;
      if (text.size() >= kMostPasted) text.erase(0, text.size() - kPasteEnd.size());  // too much: nothing of it
      text += character;
    }
    of(line).pasting = false;
    text.resize(text.size() - kPasteEnd.size());
    std::wstring clean;
    for (size_t at = 0; at < text.size(); ++at) {
      if (text[at] == L'\r') {
        if (at + 1 >= text.size() || text[at + 1] != L'\n') clean += L'\n';
      } else if (text[at] == L'\t') {
        clean += L"    ";
      } else if (text[at] == L'\n' || (text[at] >= 0x20 && (text[at] < 0x7F || text[at] >= 0xA0))) {
        clean += text[at];
      }
    }
    if (!clean.empty() && el_winsertstr(line, clean.c_str()) != 0) return CC_ERROR;
    return CC_REFRESH;
  }

  static unsigned char newline(EditLine* line, int) { return el_winsertstr(line, L"\n") == 0 ? CC_REFRESH : CC_ERROR; }

  static unsigned char tab(EditLine* line, int) {
    const LineInfoW* info = el_wline(line);
    const std::string before = to_utf8({info->buffer, static_cast<size_t>(info->cursor - info->buffer)});
    const std::vector<std::string> words = of(line).complete(before);
    if (words.empty()) return CC_ERROR;
    const std::string word = before.substr(before.find_last_of(" \n") + 1);  // npos + 1 is the start
    std::string common = common_beginning(words);
    if (words.size() == 1 && !common.ends_with('/')) common += ' ';
    if (common.size() > word.size()) {
      return el_insertstr(line, common.substr(word.size()).c_str()) == 0 ? CC_REFRESH : CC_ERROR;
    }
    std::string list;
    for (const std::string& candidate : words) list += (list.empty() ? "" : "  ") + harmless(candidate);
    std::string out = "\r\n";
    for (const Line& row : wrap({{kPlain, list}}, terminal_columns(STDOUT_FILENO) - 1)) out += ansi_text(row) + "\r\n";
    write_all(STDOUT_FILENO, out, "standard output");
    return CC_REDISPLAY;
  }

  void bind(const char* keys, const char* name) const { el_set(line, EL_BIND, keys, name, nullptr); }

  void load_history() const {
    HistEvent event;
    ::history(history, &event, H_SETSIZE, kHistoryLines);
    ::history(history, &event, H_SETUNIQUE, 1);
    if (!history_file.empty()) ::history(history, &event, H_LOAD, history_file.c_str());
  }

  void keep_history() const {
    if (history_file.empty()) return;
    const std::string partial = history_file + ".partial";
    ::unlink(partial.c_str());
    const int descriptor = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) return;
    FILE* file = ::fdopen(descriptor, "w");
    if (file == nullptr) {
      ::close(descriptor);
      return;
    }
    HistEvent event;
    const bool written = ::history(history, &event, H_SAVE_FP, file) >= 0;
    if (std::fclose(file) == 0 && written) ::rename(partial.c_str(), history_file.c_str());
    ::unlink(partial.c_str());
  }
};

LineEditor::LineEditor(std::string history_file, std::function<std::vector<std::string>(const std::string&)> complete)
    : editor_(std::make_unique<Editor>()) {
  use_utf8();
  Editor& self = *editor_;
  self.history_file = std::move(history_file);
  self.complete = std::move(complete);
  self.line = el_init("flashmoe", stdin, stdout, stderr);
  self.history = history_init();
  el_set(self.line, EL_CLIENTDATA, &self);
  el_set(self.line, EL_SIGNAL, 0);
  el_set(self.line, EL_HIST, ::history, self.history);
  el_set(self.line, EL_EDITOR, "emacs");
  el_set(self.line, EL_GETCFN, &Editor::next_character);
  el_set(self.line, EL_PROMPT_ESC, &Editor::shown_prompt, '\1');
  el_set(self.line, EL_ADDFN, "chat-paste", "Insert a paste", &Editor::paste);
  el_set(self.line, EL_ADDFN, "chat-newline", "Insert a line's end", &Editor::newline);
  el_set(self.line, EL_ADDFN, "chat-complete", "Complete a command", &Editor::tab);
  self.load_history();
  el_source(self.line, nullptr);  // the user's ~/.editrc
  for (const auto& [keys, name] : kModifiedKeys) {
    if (!self.is_bound(keys)) self.bind(keys, name);
  }
  self.bind("\\e[200~", "chat-paste");
  self.bind("\\e\\r", "chat-newline");
  self.bind("\\e\\n", "chat-newline");
  self.bind("\\t", "chat-complete");
  self.bind("^R", "em-inc-search-prev");
}

LineEditor::~LineEditor() {
  editor_->keep_history();
  history_end(editor_->history);
  el_end(editor_->line);
}

LineEditor::Input LineEditor::read(const char* prompt) {
  Editor& self = *editor_;
  self.prompt = prompt;
  self.interrupted = self.gone = self.pasting = false;
  self.ahead.clear();
  self.enter_paste_mode();
  self.take_keys();
  if (self.take_resize()) el_resize(self.line);
  int n = 0;
  const wchar_t* typed = el_wgets(self.line, &n);
  Input input;
  if (self.interrupted) {
    const bool empty = self.was_empty;
    input.kind = empty ? Input::Kind::end : Input::Kind::cleared;
    write_all(STDOUT_FILENO, empty ? "\r\n" : "^C\r\n", "standard output");
    el_reset(self.line);
  } else if (typed != nullptr && n > 0 && !self.gone) {
    input.kind = Input::Kind::text;
    std::wstring_view text(typed, static_cast<size_t>(n));
    if (text.ends_with(L'\n')) text.remove_suffix(1);
    input.text = to_utf8(text);
    HistEvent event;
    if (text.find_first_not_of(L" \n") != std::wstring_view::npos) {
      ::history(self.history, &event, H_ENTER, input.text.c_str());
    }
  } else {
    write_all(STDOUT_FILENO, "\r\n", "standard output");
  }
  self.leave_paste_mode();
  return input;
}

}  // namespace flashmoe
