#include "chat/completion_stream.h"

#include <fmt/format.h>

#include <charconv>
#include <string>
#include <utility>

#include "chat/conversation.h"
#include "flashmoe/error.h"

namespace flashmoe {
namespace {

constexpr int kMostCalls = 128;

// The text of a field, also where it is missing or null.
std::string text_of(const Json& json, const char* name) {
  return json.is_object() && json.contains(name) && json[name].is_string() ? json[name].get<std::string>() : "";
}

int64_t number_of(const Json& json, const char* name) {
  return json.is_object() && json.contains(name) && json[name].is_number_integer() ? json[name].get<int64_t>() : 0;
}

double seconds_of(const Json& json, const char* milliseconds) {
  return json.contains(milliseconds) && json[milliseconds].is_number() ? json[milliseconds].get<double>() * 1e-3 : 0;
}

Json object_of(const Json& json, const char* name) {
  return json.is_object() && json.contains(name) && json[name].is_object() ? json[name] : Json::object();
}

Json list_of(const Json& json, const char* name) {
  return json.is_object() && json.contains(name) && json[name].is_array() ? json[name] : Json::array();
}

AnswerEvent text_event(AnswerEvent::Kind kind, std::string text) {
  AnswerEvent event;
  event.kind = kind;
  event.text = std::move(text);
  return event;
}

}  // namespace

CompletionStream::CompletionStream(std::function<void(AnswerEvent)> on_event)
    : on_event_(std::move(on_event)), start_(Clock::now()) {}

void CompletionStream::emit(AnswerEvent event) {
  last_ = Clock::now();
  if (!begun_) first_ = last_;
  begun_ = true;
  ++n_pieces_;
  on_event_(std::move(event));
}

void CompletionStream::data(std::string_view text) {
  if (text == "[DONE]") {
    said_done_ = true;
    return;
  }
  const Json chunk = Json::parse(text, nullptr, false);
  if (!chunk.is_object()) throw Error(Fault::input, "the server sent an event that is not JSON");
  if (chunk.contains("error") && !chunk["error"].is_null()) throw Error(Fault::io, server_error(0, text));
  if (const Json usage = object_of(chunk, "usage"); !usage.empty()) {
    done_.usage.prompt_tokens = number_of(usage, "prompt_tokens");
    done_.usage.answer_tokens = number_of(usage, "completion_tokens");
    done_.usage.cached_tokens = number_of(object_of(usage, "prompt_tokens_details"), "cached_tokens");
  }
  if (const Json timings = object_of(chunk, "timings"); !timings.empty()) {
    timed_ = true;
    done_.usage.ttft_s = seconds_of(timings, "first_token_ms");
    done_.usage.decode_s = seconds_of(timings, "predicted_ms");
  }
  for (const Json& choice : list_of(chunk, "choices")) {
    const Json delta = object_of(choice, "delta");
    std::string thought = text_of(delta, "reasoning_content");
    if (thought.empty()) thought = text_of(delta, "reasoning");
    if (!thought.empty()) emit(text_event(AnswerEvent::Kind::thinking, thought));
    if (std::string content = text_of(delta, "content"); !content.empty()) {
      emit(text_event(AnswerEvent::Kind::content, content));
    }
    for (const Json& call : list_of(delta, "tool_calls")) {
      const Json function = object_of(call, "function");
      AnswerEvent event = text_event(AnswerEvent::Kind::tool_call, text_of(function, "arguments"));
      const int64_t index = number_of(call, "index");
      if (index < 0 || index >= kMostCalls) throw Error(Fault::input, "the server sent too many calls");
      event.call = static_cast<int>(index);
      event.call_id = text_of(call, "id");
      event.name = text_of(function, "name");
      emit(std::move(event));
    }
    const std::string reason = text_of(choice, "finish_reason");
    if (reason.empty()) continue;
    finished_ = true;
    done_.reason = reason == "length" ? StopReason::max_tokens : StopReason::end_of_turn;
    done_.called_tools = reason == "tool_calls";
  }
}

void CompletionStream::comment(std::string_view text) {
  AnswerEvent event;
  event.kind = AnswerEvent::Kind::reading;
  constexpr std::string_view kReading = "reading ", kOf = " of ";
  if (!text.starts_with(kReading)) return;
  const char* const end = text.data() + text.size();
  const auto [of, error] = std::from_chars(text.data() + kReading.size(), end, event.done);
  if (error != std::errc() || !std::string_view(of, end).starts_with(kOf)) return;
  if (std::from_chars(of + kOf.size(), end, event.total).ec == std::errc()) on_event_(std::move(event));
}

void CompletionStream::end() {
  if (!finished_ && !said_done_) throw Error(Fault::io, "the server ended the connection in the middle of the answer");
  hand_out_done();
}

void CompletionStream::stop() {
  done_.reason = StopReason::interrupted;
  hand_out_done();
}

void CompletionStream::hand_out_done() {
  if (done_.usage.answer_tokens == 0) done_.usage.answer_tokens = n_pieces_;
  if (begun_ && !timed_) {  // events may arrive together: what the server measured is better
    done_.usage.ttft_s = std::chrono::duration<double>(first_ - start_).count();
    done_.usage.decode_s = std::chrono::duration<double>(last_ - first_).count();
  }
  done_.kind = AnswerEvent::Kind::done;
  on_event_(done_);
}

std::string server_error(int status, std::string_view body) {
  const Json json = Json::parse(body, nullptr, false);
  std::string message;
  if (json.is_object() && json.contains("error")) {
    const Json& error = json["error"];
    message = error.is_string() ? error.get<std::string>() : text_of(error, "message");
  }
  if (message.empty()) message = std::string(body.substr(0, 200));
  if (status == 0) return "the server reports: " + message;
  return fmt::format("the server answered {}{}{}", status, message.empty() ? "" : ": ", message);
}

}  // namespace flashmoe
