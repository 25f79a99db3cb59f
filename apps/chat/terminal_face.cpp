#include "chat/terminal_face.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "chat/shown_text.h"
#include "chat/signals.h"
#include "quantities.h"
#include "statistics.h"
#include "terminal.h"

namespace flashmoe {
namespace {

constexpr size_t kResultHead = 8, kResultTail = 2;  // lines of a call's result that are shown
constexpr const char* kCallMark = "● ";

ScreenSize screen_size() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {size.ws_col, size.ws_row};
}

void write_out(std::string_view text) { write_all(STDOUT_FILENO, text, "standard output"); }

// Keys without echo and without waiting for a line.
class KeyMode {
 public:
  KeyMode() {
    tcgetattr(STDIN_FILENO, &before_);
    termios keys = before_;
    keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO | ISIG);
    keys.c_cc[VMIN] = 1;
    keys.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &keys);  // what was typed before the question is no answer to it
  }
  ~KeyMode() { tcsetattr(STDIN_FILENO, TCSANOW, &before_); }
  KeyMode(const KeyMode&) = delete;
  KeyMode& operator=(const KeyMode&) = delete;

 private:
  termios before_ = {};
};

// 3 (Ctrl-C) also when a signal asks for an end, 4 (Ctrl-D) when the terminal is gone.
char read_key() {
  constexpr int kLookMs = 200;
  while (true) {
    if (interrupt_pending()) return 3;
    pollfd ready = {STDIN_FILENO, POLLIN, 0};
    if (::poll(&ready, 1, kLookMs) <= 0) continue;
    char key = 0;
    const ssize_t n = ::read(STDIN_FILENO, &key, 1);
    if (n == 1) return key;
    if (n < 0 && errno == EINTR) continue;
    return 4;
  }
}

void set_echo(bool on) {
  termios mode = {};
  if (tcgetattr(STDIN_FILENO, &mode) != 0) return;
  if (on) {
    mode.c_lflag |= ECHO;
  } else {
    mode.c_lflag &= ~static_cast<tcflag_t>(ECHO);
  }
  tcsetattr(STDIN_FILENO, TCSANOW, &mode);
}

}  // namespace

TerminalFace::TerminalFace(bool show_think)
    : screen_{write_out, screen_size}, status_(screen_), thoughts_(screen_), show_think_(show_think) {}

TerminalFace::~TerminalFace() {
  try {
    end_turn();
  } catch (const std::exception&) {
    // The terminal is gone.
  }
}

void TerminalFace::begin_turn() {
  stop_ = false;
  take_interrupt();
  set_echo(false);
  quiet_ = true;
}

void TerminalFace::end_turn() {
  status_.erase();
  if (quiet_) set_echo(true);
  quiet_ = false;
  take_interrupt();  // it was for this turn
}

bool TerminalFace::stop_wanted() {
  if (take_interrupt() || termination_seen()) stop_ = true;
  return stop_;
}

void TerminalFace::status(const std::string& text) {
  if (answer_) return;  // below text that grows there is no place for it
  if (show_think_) end_thoughts();
  const int columns = std::max(screen_.size().columns - 1, 10);
  status_.show({{{kDim, shortened(text, columns)}}});
}

void TerminalFace::thinking(std::string_view piece) {
  if (!thinking_) thinking_since_ = std::chrono::steady_clock::now();
  thinking_ = true;
  if (!show_think_) {
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - thinking_since_).count();
    return status(fmt::format("thinking for {:.0f} s", seconds));
  }
  status_.erase();
  thought_ += piece;
  for (size_t end; (end = thought_.find('\n')) != std::string::npos; thought_.erase(0, end + 1)) {
    const std::string rest = thought_;
    thought_.resize(end);
    draw_thoughts();
    if (thoughts_.empty()) write_out("\r\n");
    thoughts_.finish();
    thought_ = rest;
  }
  draw_thoughts();
}

void TerminalFace::draw_thoughts() {
  if (thought_.empty()) return;
  thoughts_.show(wrap({{kDim, harmless(thought_)}}, std::max(screen_.size().columns - 1, 10)));
}

void TerminalFace::end_thoughts() {
  status_.erase();
  if (!thinking_) return;
  thinking_ = false;
  if (!show_think_) return;
  draw_thoughts();
  thoughts_.finish();
  thought_.clear();
  write_out("\r\n");
}

void TerminalFace::content(std::string_view piece) {
  end_thoughts();
  if (!answer_) answer_ = std::make_unique<MarkdownStream>(screen_);
  answer_->add(piece);
}

void TerminalFace::end_answer() {
  end_thoughts();
  if (answer_) answer_->end();
  answer_.reset();
}

void TerminalFace::dim_lines(const std::string& text, const char* before, Extent extent) {
  const int columns = std::max(screen_.size().columns - 1, 10);
  const std::string mark = before;
  const std::string indent(static_cast<size_t>(columns_of(mark)), ' ');
  std::string shown = harmless(text);
  while (shown.ends_with('\n')) shown.pop_back();
  const std::vector<Line> lines = wrap({{kDim, shown}}, columns, {{{kPlain, mark}}, {{kPlain, indent}}}, Spaces::keep);
  const size_t n_shown = kResultHead + kResultTail;
  const bool cut = extent == Extent::ends && lines.size() > n_shown + 1;
  std::string out;
  for (size_t at = 0; at < lines.size(); ++at) {
    if (cut && at == kResultHead) {
      out += ansi_text({{kDim, fmt::format("{}... {} lines ...", indent, lines.size() - n_shown)}}) + "\r\n";
      at = lines.size() - kResultTail;
    }
    out += ansi_text(lines[at]) + "\r\n";
  }
  write_out(out);
}

void TerminalFace::call(const std::string& text) {
  status_.erase();
  dim_lines(text, kCallMark, Extent::whole);  // nothing is confirmed unseen
}

Permission TerminalFace::confirm(const std::string& always_means) {
  status_.erase();
  const std::string question = fmt::format("  run it? y: yes, n: no, a: always ({}) ", always_means);
  const KeyMode mode;  // before the question is seen: whatever is typed after it counts
  write_out("\033[1m" + question + "\033[0m");
  while (true) {
    const char key = read_key();
    const auto answer = [](const char* word, Permission given) {
      write_out(std::string(word) + "\r\n");
      return given;
    };
    if (key == 'y' || key == 'Y') return answer("yes", Permission::yes);
    if (key == 'n' || key == 'N') return answer("no", Permission::no);
    if (key == 'a' || key == 'A') return answer("always", Permission::always);
    if (key == 3 || key == 4) {
      stop_ = true;
      return answer("stop", Permission::stop);
    }
  }
}

void TerminalFace::result(const std::string& text) {
  status_.erase();
  dim_lines(text, "  ", Extent::ends);
  write_out("\r\n");
}

void TerminalFace::note(const std::string& text) {
  status_.erase();
  std::string out;
  for (const Line& line : wrap({{kDim, harmless(text)}}, std::max(screen_.size().columns - 1, 10))) {
    out += ansi_text(line) + "\r\n";
  }
  write_out(out);
}

void TerminalFace::print(const std::string& text) {
  status_.erase();
  std::string out;
  for (const char byte : harmless(text)) out += byte == '\n' ? "\r\n" : std::string(1, byte);
  write_out(out);
}

void TerminalFace::footer(const TurnTotals& totals) {
  if (totals.answer_tokens > 0) {
    write_out("\r\n");
    note(footer_text(totals, screen_.size().columns - 1));
  } else if (totals.reason == StopReason::interrupted) {
    note(show_reason(totals.reason));
  }
}

std::string footer_text(const TurnTotals& totals, int columns) {
  const auto count = [](int64_t n) { return show_count(static_cast<uint64_t>(n)); };
  std::string text;
  int taken = 0;  // of the last line
  const auto add = [&](const std::string& part) {
    const int width = columns_of(part);
    const bool goes_on = taken > 0 && taken + 2 + width + 1 <= columns;  // with the comma before it and the one behind
    if (taken > 0) text += goes_on ? ", " : ",\n";
    taken = (goes_on ? taken + 2 : 0) + width;
    text += part;
  };
  add(count(totals.answer_tokens) + " tokens");
  if (totals.decode_s > 0) add(fmt::format("{:.1f} tok/s", totals.tok_per_s()));
  add(fmt::format("first token {:.2f} s", totals.ttft_s));
  add(fmt::format("prompt {} ({} known)", count(totals.prompt_tokens), count(totals.cached_tokens)));
  if (totals.hit_rate) add(fmt::format("hits {:.1f} %", 100 * *totals.hit_rate));
  if (totals.reason != StopReason::end_of_turn) add(show_reason(totals.reason));
  return text;
}

}  // namespace flashmoe
