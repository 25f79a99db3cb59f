#include "terminal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <string>

#include "flashmoe/error.h"
#include "progress_text.h"

namespace flashmoe {
namespace {

constexpr uint64_t kRedrawNs = 100'000'000;
constexpr int kGlanceMs = 100;  // between two looks at whether a reader is to be given up

bool (*give_up)() = [] { return false; };

uint64_t clock_ns() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

}  // namespace

void hold_standard_descriptors() {
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    // Read-only, so that writing to a closed output still fails.
    if (fcntl(descriptor, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDONLY) != descriptor) return;
  }
}

bool is_terminal(int descriptor) { return isatty(descriptor) == 1; }

int terminal_columns(int descriptor) {
  winsize size = {};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void give_up_writing_when(bool (*wanted)()) { give_up = wanted; }

bool write_all(int descriptor, std::string_view bytes, std::string_view name) {
  struct stat status = {};
  const bool can_wait = fstat(descriptor, &status) == 0 && !S_ISREG(status.st_mode);
  // Of a pipe that is ready, so much is written without waiting, where no signal handler would be heard.
  const size_t most = can_wait ? PIPE_BUF : bytes.size();
  while (!bytes.empty()) {
    pollfd ready = {descriptor, POLLOUT, 0};
    if (can_wait && poll(&ready, 1, kGlanceMs) <= 0) {  // also when a signal came
      if (give_up()) return false;
      continue;
    }
    const ssize_t written = ::write(descriptor, bytes.data(), std::min(most, bytes.size()));
    if (written >= 0) {
      bytes.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EPIPE) {
      return false;
    } else if (errno != EINTR && errno != EAGAIN) {
      throw Error(Fault::io, fmt::format("cannot write to {}: {}", name, std::strerror(errno)));
    }
  }
  return true;
}

void write_error(std::string_view text) {
  try {
    write_all(STDERR_FILENO, text, "standard error");
  } catch (const Error&) {
    // There is nobody left to tell.
  }
}

std::string fitted(std::string_view line) {
  winsize size = {};
  if (!is_terminal(STDERR_FILENO) || ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) {
    return std::string(line);
  }
  constexpr std::string_view kIndent = "  ";
  std::string text;
  size_t width = 0;
  for (size_t begin = 0; begin <= line.size();) {
    const std::string_view word = line.substr(begin, line.find(' ', begin) - begin);
    begin += word.size() + 1;
    // A terminal's columns are code points here: continuation bytes take none.
    const auto columns =
        static_cast<size_t>(std::count_if(word.begin(), word.end(), [](char c) { return (c & 0xc0) != 0x80; }));
    if (width > 0 && width + 1 + columns > size.ws_col) {
      text.append("\n").append(kIndent);
      width = kIndent.size();
    } else if (!text.empty()) {
      text += ' ';
      ++width;
    }
    text += word;
    width += columns;
  }
  return text;
}

bool StandardOutput::write(std::string_view text) {
  if (!open_ || text.empty()) return open_;
  open_ = write_all(STDOUT_FILENO, text, "standard output");
  last_ = text.back();
  return open_;
}

void StandardOutput::end_line() {
  if (last_ != '\n') write("\n");
}

ProgressLine::ProgressLine() : terminal_(is_terminal(STDERR_FILENO)) {}

void ProgressLine::show(const Progress& progress) {
  if (!terminal_) return;
  const uint64_t now = clock_ns();
  if (now - shown_ns_ < kRedrawNs) return;
  shown_ns_ = now;
  visible_ = true;
  std::string line = progress_text(progress, pace_.of(progress));
  line.resize(std::min(line.size(), static_cast<size_t>(terminal_columns(STDERR_FILENO) - 1)));
  write_error("\r" + line + "\033[K");
}

void ProgressLine::erase() {
  if (visible_) write_error("\r\033[K");
  visible_ = false;
  shown_ns_ = 0;
}

}  // namespace flashmoe
