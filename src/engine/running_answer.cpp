#include "engine/running_answer.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"

namespace flashmoe {
namespace {

constexpr uint64_t kTellEvery_ns = 500'000'000;  // of a long step

std::string new_call_id() {
  static thread_local std::mt19937_64 generator{std::random_device()()};
  return fmt::format("call_{:016x}{:08x}", generator(), generator() & 0xffffffff);
}

AnswerEvent event_of(AnswerEvent::Kind kind) {
  AnswerEvent event;
  event.kind = kind;
  return event;
}

}  // namespace

RunningAnswer::RunningAnswer(const Request& request, Prompt prompt, std::shared_ptr<const Grammar> grammar,
                             const EngineParts& parts, std::shared_ptr<AnswerChannel> channel)
    : request_(request),
      prompt_(std::move(prompt)),
      parts_(parts),
      channel_(std::move(channel)),
      reader_(*parts.session.tokenizer, prompt_.tools, prompt_.opening, request_.generate.stop) {
  if (grammar != nullptr) grammar_.emplace(std::move(grammar));
  request_.chat_json.clear();
  request_.ids.clear();
  usage_.prompt_tokens = static_cast<int64_t>(prompt_.ids.size());
}

void RunningAnswer::begin(std::unique_ptr<Sequence> sequence) {
  sequence_ = std::move(sequence);
  begun_ns_ = told_ns_ = now_ns();
  usage_.waited_s = static_cast<double>(begun_ns_ - submitted_ns_) * 1e-9;
  usage_.cached_tokens = sequence_->n_tokens();
  sampler_.emplace(request_.generate.sampling, parts_.session.forward.config().vocab_size);
  sampler_->note_prompt(prompt_.ids);
  const int64_t room = sequence_->context_tokens() - usage_.prompt_tokens;
  const int64_t most = request_.generate.max_tokens;
  ids_.reserve(static_cast<size_t>(most > 0 ? std::min(most, room) : room));
  tell_reading(0, 0);
}

void RunningAnswer::begin_again(std::unique_ptr<Sequence> sequence) {
  sequence_ = std::move(sequence);
  ++n_begun_again_;
}

void RunningAnswer::tell_waiting(size_t n_before) {
  AnswerEvent event = event_of(AnswerEvent::Kind::waiting);
  event.done = n_before;
  channel_->push(std::move(event));
}

void RunningAnswer::tell_reading(int64_t rows, double share) {
  const uint64_t now = now_ns();
  if (!ids_.empty()) return;  // read again
  if (share > 0 && share < 1 && now - told_ns_ < kTellEvery_ns) return;
  told_ns_ = now;
  AnswerEvent event = event_of(AnswerEvent::Kind::reading);
  const int64_t before = share >= 1 ? sequence_->n_tokens() - rows : sequence_->n_tokens();
  event.done = static_cast<uint64_t>(before) + static_cast<uint64_t>(static_cast<double>(rows) * share);
  event.total = prompt_.ids.size();
  channel_->push(std::move(event));
}

void RunningAnswer::first_token() {
  first_token_ns_ = now_ns();
  usage_.prefill_s = static_cast<double>(first_token_ns_ - begun_ns_) * 1e-9;
  usage_.ttft_s = static_cast<double>(first_token_ns_ - submitted_ns_) * 1e-9;
}

// Once the budget of reasoning is used up, its end is written for the model.
void RunningAnswer::close_thinking() {
  const int64_t most = request_.max_thinking_tokens;
  if (closed_thinking_ || most < 0 || !reader_.thinking() || usage_.thinking_tokens < most) return;
  closed_thinking_ = true;
  write_end_of_thinking();
}

void RunningAnswer::write_end_of_thinking() {
  forced_ = parts_.session.tokenizer->encode("\n</think>\n\n", Marks::parse);
  std::reverse(forced_.begin(), forced_.end());
}

int32_t RunningAnswer::take_forced() {
  const int32_t id = forced_.back();
  forced_.pop_back();
  return id;
}

int32_t RunningAnswer::next_id(std::span<float> logits) {
  const bool wanted = request_.n_logprobs >= 0;
  if (wanted) note_logprobs(logits);
  if (!forced_.empty()) return take_forced();
  const bool bound = grammar_ && !reader_.thinking();
  if (bound) grammar_->mask(logits);
  const int32_t id = sampler_->sample(logits);
  if (bound) grammar_->accept(id);
  // What is demanded is still to come: a turn that ends in reasoning ends that alone.
  if (grammar_ && !bound && parts_.session.tokenizer->ends_turn(id)) {
    write_end_of_thinking();
    return take_forced();
  }
  return id;
}

// Leaves in sampled_ the likeliest tokens and, as the token's logprob, what is to be subtracted from its logit.
void RunningAnswer::note_logprobs(std::span<const float> logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  double total = 0;
  for (const float logit : logits) total += std::exp(static_cast<double>(logit - largest));
  const float log_total = largest + static_cast<float>(std::log(total));
  sampled_ = {};
  sampled_.token.logprob = log_total;
  const auto n = std::min(static_cast<size_t>(request_.n_logprobs), logits.size());
  std::vector<Candidate> best;
  for (size_t i = 0; i < logits.size() && n > 0; ++i) {
    const Candidate candidate{logits[i], static_cast<int32_t>(i)};
    if (best.size() == n && !comes_first(candidate, best.back())) continue;
    best.insert(std::upper_bound(best.begin(), best.end(), candidate, comes_first), candidate);
    if (best.size() > n) best.pop_back();
  }
  const Tokenizer& words = *parts_.session.tokenizer;
  for (const Candidate& c : best) {
    std::string bytes(c.id < words.size() ? words.bytes(c.id) : std::string_view());
    sampled_.likeliest.push_back({c.id, std::move(bytes), c.logit - log_total});
  }
}

bool RunningAnswer::take(std::span<float> logits) {
  const Tokenizer& words = *parts_.session.tokenizer;
  const int64_t room = sequence_->context_tokens() - usage_.prompt_tokens;
  close_thinking();
  const std::vector<float> raw =
      request_.n_logprobs >= 0 ? std::vector<float>(logits.begin(), logits.end()) : std::vector<float>();
  const int32_t id = next_id(logits);
  if (first_token_ns_ == 0) first_token();
  if (words.ends_turn(id)) return over(StopReason::end_of_turn);
  ids_.push_back(id);
  ++usage_.answer_tokens;
  if (reader_.thinking()) ++usage_.thinking_tokens;
  if (!raw.empty()) {
    sampled_.token = {id, id < words.size() ? std::string(words.bytes(id)) : std::string(),
                      raw[static_cast<size_t>(id)] - sampled_.token.logprob};
    unsent_.push_back(std::move(sampled_));
  }
  hand_out(id < words.size() ? reader_.push(id) : std::vector<AnswerPiece>());
  if (reader_.stopped()) return over(StopReason::stop_text);
  if (!request_.parallel_tool_calls && reader_.between_calls()) return over(StopReason::end_of_turn);
  const int64_t most = request_.generate.max_tokens;
  if (most > 0 && usage_.answer_tokens >= most && most <= room) return over(StopReason::max_tokens);
  if (usage_.answer_tokens >= room) return over(StopReason::context_full);
  return true;
}

void RunningAnswer::hand_out(const std::vector<AnswerPiece>& pieces) {
  for (const AnswerPiece& piece : pieces) {
    AnswerEvent event;
    event.text = piece.text;
    event.call = piece.call;
    switch (piece.kind) {
      case AnswerPiece::Kind::thinking:
        event.kind = AnswerEvent::Kind::thinking;
        thinking_ += piece.text;
        break;
      case AnswerPiece::Kind::content:
        event.kind = AnswerEvent::Kind::content;
        content_ += piece.text;
        break;
      case AnswerPiece::Kind::call:
        event.kind = AnswerEvent::Kind::tool_call;
        if (piece.begins) {
          calls_.push_back({new_call_id(), piece.name, {}});
          event.call_id = calls_.back().id;
          event.name = piece.name;
        }
        calls_.back().arguments += piece.text;
        break;
    }
    event.tokens = std::exchange(unsent_, {});
    channel_->push(std::move(event));
  }
}

nlohmann::ordered_json RunningAnswer::message(bool with_reasoning) const {
  using Json = nlohmann::ordered_json;
  Json message = {{"role", "assistant"}, {"content", content_}};
  if (with_reasoning && !thinking_.empty()) message["reasoning_content"] = thinking_;
  for (const Call& call : calls_) {
    Json arguments = Json::parse(call.arguments, nullptr, false);
    if (!arguments.is_object()) arguments = Json::object();
    message["tool_calls"].push_back({{"id", call.id},
                                     {"type", "function"},
                                     {"function", {{"name", call.name}, {"arguments", std::move(arguments)}}}});
  }
  return message;
}

// All that was sampled behind the reasoning; empty where a template would take some of it for reasoning.
std::string RunningAnswer::spoken_text() const {
  constexpr std::string_view kThink = "<think>", kThinkEnd = "</think>", kSpace = " \t\r\n";
  TextStream stream(*parts_.session.tokenizer, {});
  std::string text;
  for (const int32_t id : ids_) text += stream.push(id);
  text += stream.finish();
  const size_t start = std::min(text.find_first_not_of(kSpace), text.size());
  if (prompt_.opening == AnswerReader::Opening::thinking || text.compare(start, kThink.size(), kThink) == 0) {
    const size_t end = text.find(kThinkEnd);
    if (end == std::string::npos) return {};
    text.erase(0, text.find_first_not_of(kSpace, end + kThinkEnd.size()));
  }
  return text.find(kThinkEnd) == std::string::npos ? text : std::string();
}

bool RunningAnswer::over(StopReason reason) {
  reason_ = reason;
  hand_out(reader_.finish());
  const bool whole = reader_.n_whole_calls() == static_cast<int>(calls_.size()) && !reader_.stopped();
  if (std::string text; called_tools() && whole && !(text = spoken_text()).empty()) {
    parts_.sampled_calls->keep(message(false), std::move(text));
  }
  if (first_token_ns_ == 0) first_token();
  usage_.decode_s = seconds_since(first_token_ns_);
  end_ = event_of(AnswerEvent::Kind::done);
  end_.reason = reason;
  end_.called_tools = reader_.n_whole_calls() > 0;
  if (reader_.stopped()) end_.stop_text = reader_.stop_text();
  end_.tokens = std::exchange(unsent_, {});
  end_.usage = usage_;
  return false;
}

void RunningAnswer::tell_end() { channel_->push(std::move(end_)); }

}  // namespace flashmoe
