#include "serve/openai_responses.h"

#include "serve/openai_responses_request.h"
#include "serve/openai_shapes.h"

namespace flashmoe {
namespace {

using Kind = AnswerEvent::Kind;

// An answer as output items, grown event by event; the events of a stream are told as it grows.
class Response : public Exchange {
 public:
  Response(ResponsesRequest request, const Served& served)
      : model_(served.model_name), echoed_(std::move(request.echoed)) {
    asked_.stream = request.stream;
    asked_.requests.push_back(std::move(request.request));
  }

  Api api() const override { return Api::openai; }
  std::string whole(const std::vector<Collected>& choices) override;
  std::string begin(int64_t prompt_tokens) override;
  std::string event(size_t choice, const AnswerEvent& event) override;
  std::string end() override { return {}; }
  std::string failure(const ApiError& error) override;

 private:
  Json response(const char* status) const;
  std::string tell(const char* type, Json fields);
  std::string open(Kind kind, const AnswerEvent& event);
  std::string grow(const AnswerEvent& event);
  std::string close();
  std::string finish();
  const char* final_status() const { return answer_.cut() ? "incomplete" : "completed"; }

  std::string id_ = new_id("resp_"), model_;
  Json echoed_;
  int64_t created_ = unix_time();
  Collected answer_;
  Json items_ = Json::array();  // finished
  Json item_;                   // open
  Kind kind_ = Kind::done;      // of it; done: none is open
  std::string text_;            // of it
  Json logprobs_;               // of it
  int call_ = -1;
  bool finished_ = false;
  int64_t sequence_ = 0;
};

Json usage_of(const Usage& usage) {
  return {{"input_tokens", usage.prompt_tokens},
          {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"output_tokens", usage.answer_tokens},
          {"output_tokens_details", {{"reasoning_tokens", usage.thinking_tokens}}},
          {"total_tokens", usage.prompt_tokens + usage.answer_tokens}};
}

Json output_text(const std::string& text, const Json& logprobs) {
  return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", logprobs}};
}

Json Response::response(const char* status) const {
  Json json = {{"id", id_},        {"object", "response"},          {"created_at", created_}, {"status", status},
               {"error", nullptr}, {"incomplete_details", nullptr}, {"model", model_},        {"output", items_}};
  if (std::string_view(status) == "incomplete") json["incomplete_details"] = {{"reason", "max_output_tokens"}};
  json["usage"] = finished_ ? usage_of(answer_.usage) : Json(nullptr);
  json.update(echoed_);
  return json;
}

std::string Response::tell(const char* type, Json fields) {
  Json json = {{"type", type}, {"sequence_number", sequence_++}};
  json.update(fields);
  return server_sent(type, dump(json));
}

std::string Response::begin(int64_t) {
  const Json now = response("in_progress");
  const std::string created = tell("response.created", {{"response", now}});  // takes the lower number
  return created + tell("response.in_progress", {{"response", now}});
}

std::string Response::open(Kind kind, const AnswerEvent& event) {
  std::string out = close();
  kind_ = kind;
  text_.clear();
  logprobs_ = Json::array();
  if (kind == Kind::thinking) {
    item_ = {{"id", new_id("rs_")},
             {"type", "reasoning"},
             {"summary", Json::array()},
             {"content", Json::array()},
             {"status", "in_progress"}};
  } else if (kind == Kind::content) {
    item_ = {{"id", new_id("msg_")},
             {"type", "message"},
             {"status", "in_progress"},
             {"role", "assistant"},
             {"content", Json::array()}};
  } else {
    call_ = event.call;
    item_ = {{"id", new_id("fc_")},      {"type", "function_call"}, {"status", "in_progress"},
             {"call_id", event.call_id}, {"name", event.name},      {"arguments", ""}};
  }
  out += tell("response.output_item.added", {{"output_index", items_.size()}, {"item", item_}});
  if (kind == Kind::tool_call) return out;
  const Json part = kind == Kind::content ? output_text("", logprobs_) : Json{{"type", "reasoning_text"}, {"text", ""}};
  return out + tell("response.content_part.added",
                    {{"item_id", item_["id"]}, {"output_index", items_.size()}, {"content_index", 0}, {"part", part}});
}

std::string Response::grow(const AnswerEvent& event) {
  text_ += event.text;
  Json fields = {{"item_id", item_["id"]}, {"output_index", items_.size()}};
  if (kind_ != Kind::tool_call) fields["content_index"] = 0;
  fields["delta"] = event.text;
  if (kind_ == Kind::thinking) return tell("response.reasoning_text.delta", fields);
  if (kind_ == Kind::tool_call) return tell("response.function_call_arguments.delta", fields);
  fields["logprobs"] = logprobs(event.tokens);
  logprobs_.insert(logprobs_.end(), fields["logprobs"].begin(), fields["logprobs"].end());
  return tell("response.output_text.delta", fields);
}

std::string Response::close() {
  if (kind_ == Kind::done) return {};
  std::string out;
  Json fields = {{"item_id", item_["id"]}, {"output_index", items_.size()}};
  if (kind_ == Kind::tool_call) {
    fields.update({{"name", item_["name"]}, {"arguments", text_}});
    out = tell("response.function_call_arguments.done", fields);
    item_["arguments"] = text_;
  } else {
    const bool thinking = kind_ == Kind::thinking;
    const Json part = thinking ? Json{{"type", "reasoning_text"}, {"text", text_}} : output_text(text_, logprobs_);
    fields["content_index"] = 0;
    Json whole = fields;
    whole["text"] = text_;
    if (!thinking) whole["logprobs"] = logprobs_;
    out = tell(thinking ? "response.reasoning_text.done" : "response.output_text.done", whole);
    fields["part"] = part;
    out += tell("response.content_part.done", fields);
    item_["content"] = Json::array({part});
  }
  item_["status"] = final_status();
  out += tell("response.output_item.done", {{"output_index", items_.size()}, {"item", item_}});
  items_.push_back(item_);
  kind_ = Kind::done;
  return out;
}

std::string Response::event(size_t, const AnswerEvent& event) {
  if (event.kind == Kind::waiting || event.kind == Kind::reading) return {};
  answer_.add(event);
  if (event.kind == Kind::done) return finish();
  std::string out;
  if (kind_ != event.kind || (kind_ == Kind::tool_call && call_ != event.call)) out = open(event.kind, event);
  return out + grow(event);
}

std::string Response::finish() {
  const std::string out = close();
  finished_ = true;
  const char* type = answer_.cut() ? "response.incomplete" : "response.completed";
  return out + tell(type, {{"response", response(final_status())}});
}

std::string Response::failure(const ApiError& error) {
  Json json = response("failed");
  json["error"] = {{"code", error_type(Api::openai, error.status)}, {"message", error.what()}};
  return tell("response.failed", {{"response", json}});
}

// The same items, as if they had been streamed.
std::string Response::whole(const std::vector<Collected>& choices) {
  const Collected& answer = choices.front();
  const auto replay = [this](Kind kind, const std::string& text, int call, const ToolCall& of,
                             const std::vector<SampledToken>& tokens) {
    AnswerEvent event;
    event.tokens = tokens;
    event.kind = kind;
    event.text = text;
    event.call = call;
    event.call_id = of.id;
    event.name = of.name;
    this->event(0, event);
  };
  answer_.reason = answer.reason;
  if (!answer.thinking.empty()) replay(Kind::thinking, answer.thinking, 0, {}, {});
  if (!answer.content.empty()) replay(Kind::content, answer.content, 0, {}, answer.content_tokens);
  for (size_t i = 0; i < answer.calls.size(); ++i) {
    replay(Kind::tool_call, answer.calls[i].arguments, static_cast<int>(i), answer.calls[i], {});
  }
  AnswerEvent done;
  done.reason = answer.reason;
  done.usage = answer.usage;
  event(0, done);
  return dump(response(final_status()));
}

}  // namespace

std::unique_ptr<Exchange> read_response_request(std::string_view body, const Served& served) {
  return std::make_unique<Response>(read_responses_request(body), served);
}

}  // namespace flashmoe
