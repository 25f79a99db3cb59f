#include "chat/turn.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {

constexpr auto kPatience = std::chrono::milliseconds(100);  // how soon a wish to stop is seen
constexpr const char* kStopped = "not run: the user stopped here";

std::string why_only_thoughts(StopReason reason) {
  const char* what = reason == StopReason::max_tokens     ? "the limit of tokens was reached"
                     : reason == StopReason::context_full ? "the context was full"
                     : reason == StopReason::stop_text    ? "a stop text came"
                                                          : "the model ended its turn";
  return fmt::format("there is no answer: {} while it was thinking", what);
}

CacheStats since(const CacheStats& now, const CacheStats& before) {
  return {now.hits - before.hits, now.misses - before.misses};
}

}  // namespace

void TurnRunner::take(const AnswerEvent& event, Round& round) {
  Reply& reply = round.reply;
  switch (event.kind) {
    case AnswerEvent::Kind::waiting:
      face_.status(fmt::format("waiting: {} before this one", event.done));
      break;
    case AnswerEvent::Kind::reading:
      face_.status(fmt::format("reading {} of {} tokens", event.done, event.total));
      break;
    case AnswerEvent::Kind::thinking:
      reply.thinking += event.text;
      face_.thinking(event.text);
      break;
    case AnswerEvent::Kind::content:
      reply.content += event.text;
      face_.content(event.text);
      break;
    case AnswerEvent::Kind::tool_call:
      face_.status("calling " + add_to_calls(reply.calls, event).name);
      break;
    case AnswerEvent::Kind::done:
      round.stopped = event.reason == StopReason::interrupted;
      if (!event.called_tools || round.stopped) reply.calls.clear();
      add_usage(event);
      break;
  }
}

void TurnRunner::add_usage(const AnswerEvent& done) {
  if (first_answer_) totals_.ttft_s = done.usage.ttft_s;
  first_answer_ = false;
  totals_.prompt_tokens = done.usage.prompt_tokens;  // of the last request: what the conversation takes
  totals_.cached_tokens = done.usage.cached_tokens;
  totals_.answer_tokens += done.usage.answer_tokens;
  totals_.decode_s += done.usage.decode_s;
  totals_.reason = done.reason;
}

TurnRunner::Round TurnRunner::answer(const Conversation& conversation, const TurnOptions& options) {
  Round round;
  const Json definitions = options.tools ? tools_.definitions() : Json::array();
  const std::unique_ptr<Answer> answer =
      backend_.ask(conversation.request_json(definitions, options.think), options.generate);
  bool asked_to_stop = false;
  try {
    while (!answer->finished()) {
      if (!asked_to_stop && face_.stop_wanted()) {
        asked_to_stop = true;
        answer->cancel();
      }
      if (const auto event = answer->next(kPatience)) take(*event, round);
    }
  } catch (const Error& error) {
    face_.end_answer();
    if (error.fault() != Fault::interrupted) throw;
    round.stopped = true;
    round.reply.calls.clear();
    totals_.reason = StopReason::interrupted;
  }
  face_.end_answer();
  round.stopped = round.stopped || asked_to_stop;
  return round;
}

std::string TurnRunner::run_call(const ToolCall& call, const TurnOptions& options, bool* stopped) {
  face_.call(tools_.shown(call));
  if (const auto complaint = tools_.complaint(call)) {
    face_.result(*complaint);
    return *complaint;
  }
  const std::string permission = tools_.permission(call);
  if (!options.yes && !always_.contains(permission)) {
    const bool whole_tool = permission == call.name;
    const Permission given = face_.confirm(whole_tool ? "every " + call.name : "this very call");
    if (given == Permission::stop) {
      *stopped = true;
      return kStopped;
    }
    if (given == Permission::no) return "refused: the user does not allow this call";
    if (given == Permission::always) always_.insert(permission);
  }
  face_.status("running " + call.name);
  const std::string result = tools_.run(call, [this] { return !face_.stop_wanted(); });
  face_.result(result);
  return result;
}

bool TurnRunner::run_calls(Conversation& conversation, const Reply& reply, const TurnOptions& options,
                           const std::function<void()>& keep) {
  bool stopped = false;
  for (const ToolCall& call : reply.calls) {
    conversation.add_tool_result(call, stopped ? kStopped : run_call(call, options, &stopped));
    keep();
    stopped = stopped || face_.stop_wanted();
  }
  return !stopped;
}

void TurnRunner::run(Conversation& conversation, const TurnOptions& options, const std::function<void()>& keep) {
  totals_ = {};
  first_answer_ = true;
  const auto before = backend_.stats();
  for (int round_number = 0;; ++round_number) {
    if (round_number > options.n_rounds) {
      face_.note(fmt::format("stopped after {} rounds of calls; say so if the model is to go on", options.n_rounds));
      break;
    }
    const Round round = answer(conversation, options);
    const Reply& reply = round.reply;
    if (reply.content.empty() && reply.calls.empty() && (round.stopped || reply.thinking.empty())) {
      if (conversation.messages().back()["role"] == "user") conversation.undo();
      face_.note(round.stopped ? "stopped before an answer came; the question is taken back"
                               : "the model answered nothing; the question is taken back");
      if (round.stopped) totals_.reason = StopReason::end_of_turn;  // told already
      break;
    }
    conversation.add_reply(reply);
    keep();
    if (reply.content.empty() && reply.calls.empty()) face_.note(why_only_thoughts(totals_.reason));
    if (reply.calls.empty() || !run_calls(conversation, reply, options, keep)) break;
  }
  const auto after = backend_.stats();
  if (before && after) {
    const CacheStats cache = since(after->cache, before->cache);
    if (cache.hits + cache.misses > 0) totals_.hit_rate = cache.hit_rate();
  }
  face_.footer(totals_);
  for (const std::string& note : backend_.take_notes()) face_.note(note);
}

void close_calls(Conversation& conversation) {
  for (const ToolCall& call : conversation.open_calls()) {
    conversation.add_tool_result(call, "not run: the program ended before");
  }
}

}  // namespace flashmoe
