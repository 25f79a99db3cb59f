// A chat through pipes: the answer's text on standard output, everything else on standard error.
#pragma once

#include <string>

#include "chat/face.h"
#include "terminal.h"

namespace flashmoe {

class PlainFace : public Face {
 public:
  PlainFace(StandardOutput& out, bool show_think);
  void show_think(bool on) { show_think_ = on; }

  void status(const std::string&) override {}
  void thinking(std::string_view piece) override;
  void content(std::string_view piece) override;
  void end_answer() override;
  void call(const std::string& text) override;
  Permission confirm(const std::string&) override { return Permission::no; }
  void result(const std::string&) override {}
  void note(const std::string& text) override;
  void print(const std::string& text) override;
  void footer(const TurnTotals&) override {}
  bool stop_wanted() override;

 private:
  void write(std::string_view text);
  StandardOutput& out_;
  bool show_think_;
  bool terminal_;  // where control bytes must not arrive
  bool thinking_ = false;
};

}  // namespace flashmoe
