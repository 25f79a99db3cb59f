#include "serve/anthropic_messages.h"

#include <optional>

#include "serve/anthropic_request.h"
#include "serve/request_fields.h"

namespace flashmoe {
namespace {

class Messages : public Exchange {
 public:
  Messages(MessagesRequest request, const Served& served) : model_(served.model_name) {
    asked_.stream = request.stream;
    asked_.requests.push_back(std::move(request.request));
  }

  Api api() const override { return Api::anthropic; }
  std::string whole(const std::vector<Collected>& choices) override;
  std::string begin(int64_t prompt_tokens) override;
  std::string event(size_t choice, const AnswerEvent& event) override;
  std::string end() override { return tell({{"type", "message_stop"}}); }
  std::string failure(const ApiError& error) override {
    return server_sent("error", error_json(Api::anthropic, error));
  }

 private:
  enum class Block { none, thinking, text, tool_use };

  Json message(const Json& content, const Json& stop_reason, const Json& stop_sequence, const Json& usage) const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model_},
            {"content", content},
            {"stop_reason", stop_reason},
            {"stop_sequence", stop_sequence},
            {"usage", usage}};
  }
  static std::string tell(const Json& json) { return server_sent(json["type"].get<std::string>(), dump(json)); }
  std::string open(Block kind, const Json& block);
  std::string close();
  std::string delta(const Json& delta) const {
    return tell({{"type", "content_block_delta"}, {"index", index_}, {"delta", delta}});
  }
  std::string finish();

  std::string id_ = new_id("msg_"), model_;
  Collected answer_;  // streamed so far
  Block block_ = Block::none;
  int index_ = -1, call_ = -1;
};

Json usage_of(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens - usage.cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", usage.cached_tokens},
          {"output_tokens", usage.answer_tokens}};
}

const char* stop_reason(const Collected& answer) {
  if (answer.reason == StopReason::max_tokens) return "max_tokens";
  if (answer.reason == StopReason::context_full) return "model_context_window_exceeded";
  if (answer.reason == StopReason::stop_text) return "stop_sequence";
  return answer.calls.empty() ? "end_turn" : "tool_use";
}

Json stop_sequence(const Collected& answer) {
  return answer.reason == StopReason::stop_text ? Json(answer.stop_text) : Json(nullptr);
}

std::string Messages::whole(const std::vector<Collected>& choices) {
  const Collected& answer = choices.front();
  Json content = Json::array();
  if (!answer.thinking.empty()) {
    content.push_back({{"type", "thinking"}, {"thinking", answer.thinking}, {"signature", ""}});
  }
  if (!answer.content.empty()) content.push_back({{"type", "text"}, {"text", answer.content}});
  for (const ToolCall& call : answer.calls) {
    Json input = parse_argument_object(call.arguments);
    if (input.is_null()) input = Json::object();  // cut in the middle
    content.push_back({{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", input}});
  }
  return dump(message(content, stop_reason(answer), stop_sequence(answer), usage_of(answer.usage)));
}

std::string Messages::begin(int64_t prompt_tokens) {
  Usage usage;
  usage.prompt_tokens = prompt_tokens;
  return tell({{"type", "message_start"}, {"message", message(Json::array(), nullptr, nullptr, usage_of(usage))}}) +
         tell({{"type", "ping"}});
}

std::string Messages::open(Block kind, const Json& block) {
  const std::string before = close();
  block_ = kind;
  return before + tell({{"type", "content_block_start"}, {"index", ++index_}, {"content_block", block}});
}

std::string Messages::close() {
  if (block_ == Block::none) return {};
  std::string out;
  if (block_ == Block::thinking) out = delta({{"type", "signature_delta"}, {"signature", ""}});
  block_ = Block::none;
  return out + tell({{"type", "content_block_stop"}, {"index", index_}});
}

std::string Messages::event(size_t, const AnswerEvent& event) {
  using Kind = AnswerEvent::Kind;
  answer_.add(event);
  std::string out;
  switch (event.kind) {
    case Kind::thinking:
      if (block_ != Block::thinking)
        out = open(Block::thinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
      return out + delta({{"type", "thinking_delta"}, {"thinking", event.text}});
    case Kind::content:
      if (block_ != Block::text) out = open(Block::text, {{"type", "text"}, {"text", ""}});
      return out + delta({{"type", "text_delta"}, {"text", event.text}});
    case Kind::tool_call:
      if (block_ != Block::tool_use || call_ != event.call) {
        call_ = event.call;
        out = open(Block::tool_use,
                   {{"type", "tool_use"}, {"id", event.call_id}, {"name", event.name}, {"input", Json::object()}});
      }
      return out + delta({{"type", "input_json_delta"}, {"partial_json", event.text}});
    case Kind::done:
      return finish();
    default:
      return {};
  }
}

std::string Messages::finish() {
  const std::string out = close();
  return out + tell({{"type", "message_delta"},
                     {"delta", {{"stop_reason", stop_reason(answer_)}, {"stop_sequence", stop_sequence(answer_)}}},
                     {"usage", usage_of(answer_.usage)}});
}

}  // namespace

std::unique_ptr<Exchange> read_messages(std::string_view body, const Served& served) {
  return std::make_unique<Messages>(read_messages_request(body, false), served);
}

Request read_messages_to_count(std::string_view body) { return read_messages_request(body, true).request; }

}  // namespace flashmoe
