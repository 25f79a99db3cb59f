#include "serve/openai_completion.h"

#include "serve/openai_shapes.h"
#include "serve/sampling_fields.h"

namespace flashmoe {
namespace {

constexpr int64_t kMostChoices = 16;
constexpr size_t kMostPrompts = 64;
constexpr int kUsualTokens = 16;  // as this API has it

class Completion : public Exchange {
 public:
  Completion(std::string_view body, const Served& served);

  Api api() const override { return Api::openai; }
  std::string whole(const std::vector<Collected>& choices) override;
  std::string begin(int64_t prompt_tokens) override;
  std::string event(size_t choice, const AnswerEvent& event) override;
  std::string end() override;
  std::string failure(const ApiError& error) override { return server_sent("", error_json(Api::openai, error)); }

 private:
  Json head() const { return {{"id", id_}, {"object", "text_completion"}, {"created", created_}, {"model", model_}}; }
  Json choice(size_t index, const std::string& text, const Json& logprobs, const Json& finish) const {
    return {{"text", text}, {"index", index}, {"logprobs", logprobs}, {"finish_reason", finish}};
  }
  const std::string& prompt_of(size_t choice) const { return asked_.requests[choice / asked_.choices_per_prompt].text; }
  std::string chunk(const Json& one_choice) const;

  std::string id_ = new_id("cmpl-"), model_;
  int64_t created_ = unix_time();
  bool include_usage_ = false, logprobs_ = false, echo_ = false;
  std::vector<Collected> choices_;
};

std::vector<int32_t> read_ids(const Json& list) {
  std::vector<int32_t> ids;
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > INT32_MAX) bad_request("prompt", "token ids are expected");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

// A text, ids, or a list of either.
std::vector<Request> read_prompts(const RequestFields& fields) {
  const Json* prompt = fields.find("prompt");
  if (prompt == nullptr) bad_request("prompt", "a string or a list is expected");
  Json list = *prompt;
  if (prompt->is_string() || (prompt->is_array() && !prompt->empty() && prompt->front().is_number())) {
    list = Json::array({*prompt});
  }
  if (!list.is_array() || list.empty() || list.size() > kMostPrompts) {
    bad_request("prompt", "a string, or a list of 1 to 64 prompts, is expected");
  }
  std::vector<Request> requests;
  for (const Json& one : list) {
    Request request;
    if (one.is_string() && !one.get_ref<const std::string&>().empty()) {
      request.text = one.get<std::string>();
    } else if (one.is_array() && !one.empty()) {
      request.ids = read_ids(one);
    } else {
      bad_request("prompt", "each prompt is a text or a list of token ids, and not empty");
    }
    requests.push_back(request);
  }
  return requests;
}

Completion::Completion(std::string_view body, const Served& served) : model_(served.model_name) {
  const Json json = parse_object(body);
  const RequestFields fields(json);
  fields.refuse("suffix", "is not supported");
  fields.refuse("logit_bias", "is not supported");
  const int64_t n = fields.integer("n", 1, kMostChoices).value_or(1);
  if (fields.integer("best_of", 1, kMostChoices).value_or(n) != n) bad_request("best_of", "must equal n");
  asked_.choices_per_prompt = static_cast<size_t>(n);
  echo_ = fields.boolean("echo").value_or(false);
  asked_.stream = fields.boolean("stream").value_or(false);
  if (const auto options = fields.object("stream_options")) {
    if (!asked_.stream) bad_request("stream_options", "stream must be true");
    include_usage_ = options->boolean("include_usage").value_or(false);
  }
  const auto likeliest = fields.integer("logprobs", 0, kMostLogprobs);
  logprobs_ = likeliest.has_value();
  if (logprobs_ && echo_) bad_request("echo", "cannot be had together with logprobs");
  std::vector<Request> prompts = read_prompts(fields);
  const auto n_prompts = static_cast<int64_t>(prompts.size());
  check_choices(n_prompts * n, served, n_prompts > 1 ? "prompt" : "n");
  for (Request& request : prompts) {
    if (echo_ && request.text.empty()) bad_request("echo", "needs prompts that are text");
    read_sampling(fields, request.generate.sampling);
    read_stop(fields, "stop", request.generate);
    request.generate.max_tokens = kUsualTokens;
    read_max_tokens(fields, {"max_tokens"}, request.generate);
    request.n_logprobs = static_cast<int>(likeliest.value_or(-1));
    asked_.requests.push_back(std::move(request));
  }
  choices_.resize(asked_.n_choices());
}

std::string Completion::chunk(const Json& one_choice) const {
  Json json = head();
  json["choices"] = Json::array({one_choice});
  if (include_usage_) json["usage"] = nullptr;
  return server_sent("", dump(json));
}

const char* why(const Collected& answer) { return answer.cut() ? "length" : "stop"; }

std::string Completion::whole(const std::vector<Collected>& choices) {
  Json json = head();
  json["choices"] = Json::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    const std::string text = (echo_ ? prompt_of(i) : "") + choices[i].content;
    json["choices"].push_back(choice(
        i, text, logprobs_ ? completion_logprobs(choices[i].content_tokens, 0) : Json(nullptr), why(choices[i])));
  }
  tell_usage(json, choices, asked_.choices_per_prompt);
  return dump(json);
}

std::string Completion::begin(int64_t) {
  std::string out;
  for (size_t i = 0; echo_ && i < choices_.size(); ++i) {
    out += chunk(choice(i, prompt_of(i), nullptr, nullptr));
  }
  return out;
}

std::string Completion::event(size_t index, const AnswerEvent& event) {
  Collected& answer = choices_[index];
  const size_t offset = answer.content.size();
  answer.add(event);
  if (event.kind == AnswerEvent::Kind::content) {
    return chunk(
        choice(index, event.text, logprobs_ ? completion_logprobs(event.tokens, offset) : Json(nullptr), nullptr));
  }
  if (event.kind == AnswerEvent::Kind::done) return chunk(choice(index, "", nullptr, why(answer)));
  return {};
}

std::string Completion::end() {
  std::string out;
  if (include_usage_) {
    Json json = head();
    json["choices"] = Json::array();
    tell_usage(json, choices_, asked_.choices_per_prompt);
    out = server_sent("", dump(json));
  }
  return out + server_sent("", "[DONE]");
}

}  // namespace

std::unique_ptr<Exchange> read_completion(std::string_view body, const Served& served) {
  return std::make_unique<Completion>(body, served);
}

}  // namespace flashmoe
