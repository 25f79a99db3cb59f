#include "chat/plain_face.h"

#include <unistd.h>

#include "chat/shown_text.h"
#include "chat/signals.h"

namespace flashmoe {

PlainFace::PlainFace(StandardOutput& out, bool show_think)
    : out_(out), show_think_(show_think), terminal_(is_terminal(STDOUT_FILENO)) {}

void PlainFace::write(std::string_view text) { out_.write(terminal_ ? harmless(text) : std::string(text)); }

void PlainFace::thinking(std::string_view piece) {
  if (!show_think_) return;
  if (!thinking_) write("<think>\n");
  thinking_ = true;
  write(piece);
}

void PlainFace::content(std::string_view piece) {
  if (thinking_) {
    out_.end_line();
    write("</think>\n\n");
  }
  thinking_ = false;
  write(piece);
}

void PlainFace::end_answer() {
  if (thinking_) {
    out_.end_line();
    write("</think>\n");
  }
  thinking_ = false;
  out_.end_line();
}

void PlainFace::call(const std::string& text) { note("call: " + text); }

void PlainFace::note(const std::string& text) {
  std::string line = harmless(text);
  for (char& byte : line) {
    if (byte == '\n') byte = ' ';
  }
  write_error("flashmoe: note: " + line + "\n");
}

void PlainFace::print(const std::string& text) { write(text); }

// Nobody reads any more: nothing is left to answer for.
bool PlainFace::stop_wanted() { return interrupt_pending() || !out_.open(); }

}  // namespace flashmoe
