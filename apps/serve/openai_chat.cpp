#include "serve/openai_chat.h"

#include "serve/openai_chat_request.h"
#include "serve/openai_shapes.h"

namespace flashmoe {
namespace {

class ChatCompletion : public Exchange {
 public:
  ChatCompletion(ChatCompletionRequest request, const Served& served)
      : model_(served.model_name), include_usage_(request.include_usage), logprobs_(request.request.n_logprobs >= 0) {
    check_choices(request.n, served, "n");
    asked_.requests.push_back(std::move(request.request));
    asked_.choices_per_prompt = static_cast<size_t>(request.n);
    asked_.stream = request.stream;
    choices_.resize(asked_.n_choices());
  }

  Api api() const override { return Api::openai; }
  std::string whole(const std::vector<Collected>& choices) override;
  std::string begin(int64_t prompt_tokens) override;
  std::string event(size_t choice, const AnswerEvent& event) override;
  std::string end() override;
  std::string failure(const ApiError& error) override { return server_sent("", error_json(Api::openai, error)); }

 private:
  Json head(const char* object) const {
    return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_}};
  }
  std::string chunk(size_t choice, const Json& delta, const Json& finish = nullptr,
                    const Json& logprobs = nullptr) const;

  std::string id_ = new_id("chatcmpl-"), model_;
  int64_t created_ = unix_time();
  bool include_usage_, logprobs_;
  std::vector<Collected> choices_;  // streamed so far
};

Json told_message(const Collected& answer) {
  Json message = {{"role", "assistant"}, {"content", answer.content}, {"refusal", nullptr}};
  if (answer.content.empty() && !answer.calls.empty()) message["content"] = nullptr;
  if (!answer.thinking.empty()) message["reasoning_content"] = answer.thinking;
  for (const ToolCall& call : answer.calls) message["tool_calls"].push_back(call.json());
  return message;
}

std::string ChatCompletion::whole(const std::vector<Collected>& choices) {
  Json json = head("chat.completion");
  json["choices"] = Json::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    json["choices"].push_back({{"index", i},
                               {"message", told_message(choices[i])},
                               {"logprobs", logprobs_ ? chat_logprobs(choices[i].content_tokens) : Json(nullptr)},
                               {"finish_reason", finish_reason(choices[i])}});
  }
  tell_usage(json, choices, choices.size());
  return dump(json);
}

std::string ChatCompletion::chunk(size_t choice, const Json& delta, const Json& finish, const Json& logprobs) const {
  Json json = head("chat.completion.chunk");
  json["choices"] =
      Json::array({Json{{"index", choice}, {"delta", delta}, {"logprobs", logprobs}, {"finish_reason", finish}}});
  if (include_usage_) json["usage"] = nullptr;
  return server_sent("", dump(json));
}

std::string ChatCompletion::begin(int64_t) {
  std::string out;
  for (size_t i = 0; i < choices_.size(); ++i) out += chunk(i, {{"role", "assistant"}, {"content", ""}});
  return out;
}

std::string ChatCompletion::event(size_t choice, const AnswerEvent& event) {
  using Kind = AnswerEvent::Kind;
  choices_[choice].add(event);
  switch (event.kind) {
    case Kind::thinking:
      return chunk(choice, {{"reasoning_content", event.text}});
    case Kind::content:
      return chunk(choice, {{"content", event.text}}, nullptr, logprobs_ ? chat_logprobs(event.tokens) : Json(nullptr));
    case Kind::tool_call: {
      Json call = {{"index", event.call}};
      if (!event.call_id.empty()) call.update({{"id", event.call_id}, {"type", "function"}});
      call["function"] = Json::object();
      if (!event.name.empty()) call["function"]["name"] = event.name;
      call["function"]["arguments"] = event.text;
      return chunk(choice, {{"tool_calls", Json::array({call})}});
    }
    case Kind::done:
      return chunk(choice, Json::object(), finish_reason(choices_[choice]));
    default:
      return {};
  }
}

std::string ChatCompletion::end() {
  std::string out;
  if (include_usage_) {
    Json json = head("chat.completion.chunk");
    json["choices"] = Json::array();
    tell_usage(json, choices_, choices_.size());
    out = server_sent("", dump(json));
  }
  return out + server_sent("", "[DONE]");
}

}  // namespace

std::unique_ptr<Exchange> read_chat_completion(std::string_view body, const Served& served) {
  return std::make_unique<ChatCompletion>(read_chat_completion_request(body), served);
}

}  // namespace flashmoe
