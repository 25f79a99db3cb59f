#include "text/answer_reader.h"

#include <algorithm>
#include <utility>

namespace flashmoe {
namespace {

constexpr std::string_view kThink = "<think>", kThinkEnd = "</think>", kCall = "<tool_call>", kSpace = " \t\r\n";

size_t possible_bytes(std::string_view text, std::string_view tag) {
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
    if (text.ends_with(tag.substr(0, n))) return n;
  }
  return 0;
}

size_t spaces_at_end(std::string_view text) { return text.size() - (text.find_last_not_of(kSpace) + 1); }

}  // namespace

AnswerReader::AnswerReader(const Tokenizer& tokenizer, nlohmann::ordered_json tools, Opening opening,
                           std::vector<std::string> stop)
    : stream_(tokenizer, {}),
      tools_(std::move(tools)),
      opening_(opening),
      stop_(std::move(stop)),
      at_(opening == Opening::thinking ? At::thinking : At::content) {
  std::erase_if(stop_, [](const std::string& text) { return text.empty(); });
}

const std::vector<AnswerPiece>& AnswerReader::push(int32_t id) {
  pieces_.clear();
  if (!stopped()) take(stream_.push(id), false);
  return pieces_;
}

const std::vector<AnswerPiece>& AnswerReader::finish() {
  pieces_.clear();
  if (!stopped()) take(stream_.finish(), true);
  return pieces_;
}

void AnswerReader::take(std::string_view text, bool last) {
  text_ += text;
  while (!stopped() && step(last)) {
  }
}

bool AnswerReader::step(bool last) {
  switch (at_) {
    case At::thinking:
      return think(last);
    case At::thought: {
      text_.erase(0, text_.find_first_not_of(kSpace));
      if (text_.empty()) return false;
      at_ = At::content;
      return true;
    }
    case At::content:
      return tell(last);
    case At::call:
      return read_call(last);
  }
  return false;
}

void AnswerReader::emit(AnswerPiece::Kind kind, std::string_view text) {
  if (text.empty()) return;
  if (pieces_.empty() || pieces_.back().kind != kind || kind == AnswerPiece::Kind::call)
    pieces_.push_back({.kind = kind});
  pieces_.back().text += text;
}

bool AnswerReader::think(bool last) {
  if (!begun_) text_.erase(0, text_.find_first_not_of(kSpace));
  if (text_.empty()) return false;
  const size_t end = text_.find(kThinkEnd);
  const size_t known = end != std::string::npos ? end : text_.size() - (last ? 0 : possible_bytes(text_, kThinkEnd));
  const size_t told = known - spaces_at_end(std::string_view(text_).substr(0, known));
  emit(AnswerPiece::Kind::thinking, std::string_view(text_).substr(0, told));
  begun_ |= told > 0;
  if (end == std::string::npos) {
    text_.erase(0, told);
    return false;
  }
  text_.erase(0, end + kThinkEnd.size());
  at_ = At::thought;
  begun_ = true;
  return true;
}

// Content up to a call or a stop text; what may become either, and white space before it, is held back.
bool AnswerReader::tell(bool last) {
  const bool plain = opening_ == Opening::plain;
  const std::string_view text = text_;
  if (!plain && !begun_) {  // the answer may open its own reasoning
    const size_t start = text.find_first_not_of(kSpace);
    const std::string_view first = start == std::string_view::npos ? std::string_view() : text.substr(start);
    if (first.starts_with(kThink)) {
      text_.erase(0, start + kThink.size());
      at_ = At::thinking;
      return true;
    }
    if (kThink.starts_with(first) && !last) return false;
    begun_ = true;
  }
  size_t end = plain ? std::string_view::npos : text.find(kCall), stop_end = std::string_view::npos;
  for (size_t i = 0; i < stop_.size(); ++i) {
    const size_t at = text.find(stop_[i]);
    if (at == std::string_view::npos || at + stop_[i].size() >= stop_end || at > end) continue;
    stop_end = at + stop_[i].size();
    stopped_by_ = static_cast<int>(i);
  }
  if (stopped()) {
    emit(AnswerPiece::Kind::content, text.substr(0, stop_end - stop_text().size()));
    text_.clear();
    return false;
  }
  if (end != std::string_view::npos) {
    emit(AnswerPiece::Kind::content, text.substr(0, end - spaces_at_end(text.substr(0, end))));
    text_.erase(0, end + kCall.size());
    call_.emplace(tools_);
    at_ = At::call;
    return true;
  }
  size_t held = 0;
  if (!last) {
    if (!plain) held = possible_bytes(text, kCall);
    if (!plain) held += spaces_at_end(text.substr(0, text.size() - held));
    for (const std::string& stop : stop_) held = std::max(held, possible_bytes(text, stop));
  }
  emit(AnswerPiece::Kind::content, text.substr(0, text.size() - held));
  text_.erase(0, text.size() - held);
  return false;
}

bool AnswerReader::read_call(bool last) {
  std::string arguments;
  const bool named = call_->named();
  const size_t taken = call_->push(text_, arguments);
  text_.erase(0, taken);
  if (!named && call_->named()) {
    pieces_.push_back({.kind = AnswerPiece::Kind::call, .call = n_calls_++, .begins = true, .name = call_->name()});
    pieces_.back().text = arguments;
  } else if (!arguments.empty()) {
    emit(AnswerPiece::Kind::call, arguments);
    pieces_.back().call = n_calls_ - 1;
  }
  if (call_->failed() || (last && !call_->named())) {  // no call: then it is text
    emit(AnswerPiece::Kind::content, std::string(kCall) + call_->text());
  } else if (call_->closed()) {
    n_whole_calls_ += call_->whole() ? 1 : 0;
  } else {
    return false;
  }
  call_.reset();
  at_ = n_calls_ > 0 ? At::thought : At::content;
  return true;
}

}  // namespace flashmoe
