// A line from the terminal, with editing, history, completion and pastes of many lines (libedit).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace flashmoe {

class LineEditor {
 public:
  // `history_file`: kept over restarts, mode 0600; empty: not kept. `complete`: what the last word of the text before
  // the cursor may become, as whole words.
  LineEditor(std::string history_file, std::function<std::vector<std::string>(const std::string&)> complete);
  ~LineEditor();
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  struct Input {
    enum class Kind {
      text,
      cleared,  // Ctrl-C took away what was typed
      end       // Ctrl-D, Ctrl-C at an empty line, or the terminal is gone
    };
    Kind kind = Kind::end;
    std::string text;  // UTF-8, without the newline at its end; a paste may have newlines in it
  };
  Input read(const char* prompt);

 private:
  struct Editor;  // of libedit
  std::unique_ptr<Editor> editor_;
};

}  // namespace flashmoe
