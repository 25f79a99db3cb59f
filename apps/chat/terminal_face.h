// A chat on a terminal: Markdown while it comes, thoughts dimmed, calls confirmed with a key.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "chat/face.h"
#include "chat/live_block.h"
#include "chat/markdown_stream.h"

namespace flashmoe {

class TerminalFace : public Face {
 public:
  explicit TerminalFace(bool show_think);
  ~TerminalFace() override;

  void show_think(bool on) { show_think_ = on; }
  // What is typed while an answer comes is not echoed into it.
  void begin_turn();
  void end_turn();

  void status(const std::string& text) override;
  void thinking(std::string_view piece) override;
  void content(std::string_view piece) override;
  void end_answer() override;
  void call(const std::string& text) override;
  Permission confirm(const std::string& always_means) override;
  void result(const std::string& text) override;
  void note(const std::string& text) override;
  void print(const std::string& text) override;
  void footer(const TurnTotals& totals) override;
  bool stop_wanted() override;

 private:
  void draw_thoughts();
  void end_thoughts();
  enum class Extent { whole, ends };  // of many lines those at both ends
  void dim_lines(const std::string& text, const char* before, Extent extent);

  Screen screen_;
  LiveBlock status_;
  LiveBlock thoughts_;
  std::unique_ptr<MarkdownStream> answer_;
  bool show_think_;
  std::string thought_;  // of the line that grows
  bool thinking_ = false, stop_ = false, quiet_ = false;
  std::chrono::steady_clock::time_point thinking_since_;
};

// "128 tokens, 35.2 tok/s, first token 0.42 s, prompt 512 (480 known), hits 93.1 %", broken behind commas.
std::string footer_text(const TurnTotals& totals, int columns);

}  // namespace flashmoe
