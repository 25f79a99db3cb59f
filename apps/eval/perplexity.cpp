#include <fmt/format.h>

#include <cmath>

#include "eval/eval_run.h"
#include "eval/evaluations.h"
#include "eval/scores.h"
#include "flashmoe/error.h"
#include "flashmoe/session.h"
#include "model_options.h"
#include "text_input.h"

namespace flashmoe {
namespace {

constexpr int kWindowTokens = 1024;

// Sums under `key`: tokens scored and their surprise.
void add_scores(EvalRun& run, const char* key, int64_t n, double nats) {
  auto& sums = run.found()[key];
  if (sums.is_null()) sums = {{"tokens", 0}, {"nats", 0.0}};
  sums["tokens"] = sums["tokens"].get<int64_t>() + n;
  sums["nats"] = sums["nats"].get<double>() + nats;
}

// Turns that could not be scored are part of the result: figures over other turns cannot be compared.
void add_left_out(EvalRun& run, int64_t n) {
  auto& sum = run.found()["turns_left_out"];
  sum = n + (sum.is_null() ? 0 : sum.get<int64_t>());
}

// Throws Error{input} that names the file where it left nothing to score.
nlohmann::ordered_json summary(const nlohmann::json& sums, const std::string& file, const char* reason) {
  const auto tokens = sums.is_null() ? 0 : sums["tokens"].get<int64_t>();
  if (tokens == 0)
    throw Error(Fault::input, fmt::format("{}: there is nothing to score: {}", shown_path(file), reason));
  const double nats = sums["nats"].get<double>() / static_cast<double>(tokens);
  return {{"tokens", tokens}, {"nats_per_token", nats}, {"perplexity", std::exp(nats)}};
}

// Surprise of ids [n_known, end) after those before; the session has seen none or all of [0, n_seen).
double score(Session& session, std::span<const int32_t> ids, size_t n_seen, size_t n_known) {
  const size_t n_before = n_known - 1 - std::min(n_known - 1, n_seen);
  const size_t first = n_seen + static_cast<size_t>(session.whole_blocks(ids.subspan(n_seen, n_before)));
  if (first > n_seen) session.prefill(ids.subspan(n_seen, first - n_seen));
  double nats = 0;
  session.logits(ids.subspan(first, ids.size() - 1 - first), [&](int64_t row, std::span<const float> logits) {
    const size_t next = first + static_cast<size_t>(row) + 1;
    if (next >= n_known) nats += surprise(logits, ids[next]);
  });
  return nats;
}

void score_text(const EvalOptions& options, EvalRun& run, Engine& engine, const std::string& text) {
  const std::vector<int32_t> ids = engine.tokenize(text, options.marks());
  const auto window_tokens = static_cast<size_t>(options.engine.context_tokens);
  std::vector<Window> windows = make_windows(ids.size(), window_tokens);
  if (options.limit > 0 && windows.size() > static_cast<size_t>(options.limit)) {
    windows.resize(static_cast<size_t>(options.limit));
  }
  run.each("perplexity: window", windows.size(), [&](size_t i) {
    const Window& window = windows[i];
    const auto session = engine.new_session();
    const double nats = score(*session, std::span(ids).subspan(window.first, window.n), 0, window.n_context);
    add_scores(run, "text", static_cast<int64_t>(window.n - window.n_context), nats);
  });
}

// Of the ids that the prompt and the history with its answer both begin with, so many; nothing where the template
// writes the past otherwise than it asks for an answer. Reasoning that the prompt opens and the history lacks is no
// difference.
std::optional<size_t> known_ids(const Engine& engine, nlohmann::ordered_json request, std::span<const int32_t> ids) {
  for (const bool as_it_is : {true, false}) {
    if (!as_it_is) request["enable_thinking"] = false;
    const std::vector<int32_t> prompt = engine.chat_prompt(request.dump());
    const auto [end, _] = std::mismatch(prompt.begin(), prompt.end(), ids.begin(), ids.end());
    const std::string more = engine.detokenize(std::span(end, prompt.end()));
    const bool only_opens = more.empty() || (!as_it_is && more.starts_with("<think>"));
    const auto n = static_cast<size_t>(end - prompt.begin());
    if (only_opens && n < ids.size()) return n;
  }
  return {};
}

// Each turn of the assistant, after all that was said before it.
void score_turns(EvalRun& run, Engine& engine, const nlohmann::ordered_json& conversation) {
  int64_t n = 0, n_left_out = 0;
  double nats = 0;
  std::unique_ptr<Session> session;
  std::vector<int32_t> seen;
  nlohmann::ordered_json request = conversation;
  request["messages"] = nlohmann::ordered_json::array();
  for (const auto& message : conversation.at("messages")) {
    const nlohmann::ordered_json before = request;
    request["messages"].push_back(message);
    if (message.at("role") != "assistant" || before["messages"].empty()) continue;
    nlohmann::ordered_json whole = request;
    whole["add_generation_prompt"] = false;
    const std::vector<int32_t> ids = engine.chat_prompt(whole.dump());
    const std::optional<size_t> n_known = known_ids(engine, before, ids);
    if (!n_known || static_cast<int64_t>(ids.size()) > engine.context_tokens()) {
      ++n_left_out;
      continue;
    }
    if (session == nullptr || seen.size() >= *n_known || !std::equal(seen.begin(), seen.end(), ids.begin())) {
      session.reset();  // one lives at a time
      session = engine.new_session();
      seen.clear();
    }
    nats += score(*session, ids, seen.size(), *n_known);
    n += static_cast<int64_t>(ids.size() - *n_known);
    seen.assign(ids.begin(), ids.end() - 1);  // the last id was predicted, not fed
  }
  add_scores(run, "turns", n, nats);
  add_left_out(run, n_left_out);
}

}  // namespace

nlohmann::ordered_json evaluate_perplexity(const EvalOptions& given) {
  EvalOptions options = given;
  const bool turns = !options.conversations_file.empty();
  const std::string& file = turns ? options.conversations_file : options.text_file;
  const std::string text = read_text(file);
  std::vector<nlohmann::ordered_json> conversations;
  if (turns) {
    conversations = parse_requests(text, shown_path(file), options.limit);
  } else if (options.engine.context_tokens == 0) {
    options.engine.context_tokens = kWindowTokens;
  }
  const std::string model = model_or_builtin(options.engine.model_path);
  EvalRun run(options, {{"kind", turns ? "turns" : "perplexity"},
                        {"model", model},
                        {"text", fingerprint(text)},
                        {"ctx", options.engine.context_tokens},
                        {"limit", options.limit},
                        {"marks_as_text", options.marks_as_text}});
  const auto engine = run.open(model, options.engine);
  engine->load(turns ? 0 : options.engine.context_tokens);
  if (turns) {
    run.each("perplexity: conversation", conversations.size(), [&](size_t i) {
      try {
        score_turns(run, *engine, conversations[i]);
      } catch (const nlohmann::json::exception& error) {
        throw Error(Fault::input, fmt::format("{}: conversation {}: {}", file, i + 1, error.what()));
      }
    });
  } else {
    score_text(options, run, *engine, text);
  }
  nlohmann::ordered_json result = {{"model", model}, {"exact", options.engine.exact}};
  if (!turns) {
    result["text"] = summary(run.found()["text"], file, "it is too short");
    return result;
  }
  const auto n_left_out = run.found().value("turns_left_out", int64_t{0});
  const std::string reason = n_left_out == 0
                                 ? "no turn of the assistant"
                                 : fmt::format(
                                       "{} turns of the assistant, each longer than the context or written by the chat "
                                       "template otherwise than it asks for it",
                                       n_left_out);
  result["assistant_turns"] = summary(run.found()["turns"], file, reason.c_str());
  result["assistant_turns"]["turns_left_out"] = n_left_out;
  return result;
}

}  // namespace flashmoe
