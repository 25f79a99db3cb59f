// One question and all that follows from it: the answer, tool calls and their results, the answer to these.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "chat/backend.h"
#include "chat/conversation.h"
#include "chat/face.h"
#include "chat/tool_box.h"

namespace flashmoe {

struct TurnOptions {
  GenerateOptions generate;
  bool think = true;
  bool tools = false;
  bool yes = false;   // calls are not asked about
  int n_rounds = 20;  // of calls, before the user is asked to go on
};

class TurnRunner {
 public:
  TurnRunner(Backend& backend, const ToolBox& tools, Face& face) : backend_(backend), tools_(tools), face_(face) {}

  // Answers the conversation's last message. `keep` is called whenever the conversation has grown. An answer that was
  // stopped stays as far as it came; a question without any answer is taken back. Throws Error when the backend fails,
  // with the conversation as it was before the request that failed.
  void run(Conversation& conversation, const TurnOptions& options, const std::function<void()>& keep);

 private:
  struct Round {
    Reply reply;
    bool stopped = false;
  };
  Round answer(const Conversation& conversation, const TurnOptions& options);
  void take(const AnswerEvent& event, Round& round);
  void add_usage(const AnswerEvent& done);
  bool run_calls(Conversation& conversation, const Reply& reply, const TurnOptions& options,
                 const std::function<void()>& keep);
  std::string run_call(const ToolCall& call, const TurnOptions& options, bool* stopped);

  Backend& backend_;
  const ToolBox& tools_;
  Face& face_;
  std::set<std::string> always_;  // permissions given for good
  TurnTotals totals_;
  bool first_answer_ = true;
};

// Results for calls that have none because the program ended: a conversation must have them to go on.
void close_calls(Conversation& conversation);

}  // namespace flashmoe
