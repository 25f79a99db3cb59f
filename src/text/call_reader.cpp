#include "text/call_reader.h"

#include <algorithm>

namespace flashmoe {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kClose = "</tool_call>", kFunction = "<function=", kFunctionEnd = "</function>";
constexpr std::string_view kParameter = "<parameter=", kParameterEnd = "</parameter>", kValueEnd = "\n</parameter>";
constexpr std::string_view kSpace = " \t\r\n";

std::string json_text(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Bytes at the end of `text` that may be the beginning of `tag`.
size_t possible_bytes(std::string_view text, std::string_view tag) {
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
    if (text.ends_with(tag.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

size_t CallReader::push(std::string_view text, std::string& arguments) {
  const size_t before = text_.size();
  text_ += text;
  for (bool more = true; more && !closed_ && !failed_;) {
    switch (at_) {
      case At::opening:
        more = open();
        break;
      case At::json:
        more = json(arguments);
        break;
      case At::between:
        more = between(arguments);
        break;
      case At::value:
        more = value(arguments);
        break;
      case At::behind:
        more = behind();
        break;
    }
  }
  if (!closed_) return text.size();
  text_.resize(read_);
  return read_ - before;
}

void CallReader::skip_space() { read_ = std::min(text_.size(), text_.find_first_not_of(kSpace, read_)); }

bool CallReader::begins(std::string_view tag, bool& undecided) const {
  if (rest().starts_with(tag)) return true;
  undecided |= tag.starts_with(rest());
  return false;
}

// Takes "<tag=NAME>"; false while its end is not there, or when the name is none.
bool CallReader::take_name(std::string_view tag, std::string& name) {
  const size_t end = rest().find('>');
  const std::string_view found = rest().substr(tag.size(), std::min(end, rest().size()) - tag.size());
  failed_ =
      found.find_first_of(" \t\r\n<") != std::string_view::npos || (found.empty() && end != std::string_view::npos);
  if (failed_ || end == std::string_view::npos) return false;
  name = found;
  read_ += end + 1;
  return true;
}

bool CallReader::open() {
  skip_space();
  if (rest().starts_with('{')) {
    json_.emplace();
    at_ = At::json;
    return true;
  }
  bool undecided = false;
  if (!begins(kFunction, undecided)) {
    failed_ = !undecided;
    return false;
  }
  if (!take_name(kFunction, name_)) return false;
  at_ = At::between;
  return true;
}

// A fault is one of the call's only behind its arguments' beginning: before, this is no call.
bool CallReader::json(std::string& arguments) {
  read_ += json_->take(rest(), arguments);
  name_ = json_->name();
  if (!json_->ended() && json_->fault().empty()) return false;
  whole_ = json_->has_arguments();
  failed_ = !named();
  at_ = At::behind;
  return true;
}

bool CallReader::between(std::string& arguments) {
  skip_space();
  bool undecided = false;
  if (begins(kFunctionEnd, undecided) || begins(kClose, undecided)) {
    arguments += keys_.empty() ? "{}" : "}";
    at_ = At::behind;
    return true;
  }
  if (begins(kParameter, undecided)) {
    if (!take_name(kParameter, key_)) {
      read_ += failed_ ? kParameter.size() : 0;  // no parameter: skipped
      return std::exchange(failed_, false);
    }
    repeated_ = std::find(keys_.begin(), keys_.end(), key_) != keys_.end();
    if (!repeated_) {
      arguments += keys_.empty() ? '{' : ',';
      arguments += json_text(key_);
      arguments += ':';
    }
    keys_.push_back(key_);
    schema_ = ArgumentSchema(tool_definition(*tools_, name_), key_);
    plain_ = schema_.is_plain_text();
    if (plain_ && !repeated_) arguments += '"';
    value_begun_ = false;
    pending_.clear();
    at_ = At::value;
    return true;
  }
  if (undecided) return false;
  ++read_;
  return true;
}

// Hands out the next n bytes of a value.
void CallReader::give(size_t n, std::string& arguments) {
  const std::string_view text = rest().substr(0, n);
  read_ += n;
  if (repeated_) return;
  if (!plain_) {
    pending_ += text;
    return;
  }
  const std::string json = json_text(std::string(text));
  arguments.append(json, 1, json.size() - 2);
}

void CallReader::end_value(size_t n, std::string& arguments) {
  const bool line = n > 0 && rest()[n - 1] == '\n';
  give(line ? n - 1 : n, arguments);
  read_ += (line ? 1 : 0) + kParameterEnd.size();
  at_ = At::between;
  if (repeated_) return;
  if (plain_) {
    arguments += '"';
  } else {
    arguments += json_text(schema_.read(pending_).value_or(Json(pending_)));
  }
}

// A closing tag ends the value if what may follow a value follows it.
bool CallReader::value(std::string& arguments) {
  if (!value_begun_) {
    if (rest().empty()) return false;
    if (rest().front() == '\n') ++read_;
    value_begun_ = true;
  }
  const size_t end = rest().find(kParameterEnd);
  if (end == std::string_view::npos) {
    const size_t held = std::max(possible_bytes(rest(), kValueEnd), possible_bytes(rest(), kParameterEnd));
    give(rest().size() - held, arguments);
    return false;
  }
  const size_t next = rest().find_first_not_of(kSpace, end + kParameterEnd.size());
  const std::string_view after = next == std::string_view::npos ? std::string_view() : rest().substr(next);
  if (after.starts_with(kParameter) || after.starts_with(kFunctionEnd)) {
    end_value(end, arguments);
    return true;
  }
  if (kParameter.starts_with(after) || kFunctionEnd.starts_with(after)) {
    give(end > 0 && rest()[end - 1] == '\n' ? end - 1 : end, arguments);
    return false;
  }
  give(end + kParameterEnd.size(), arguments);
  return true;
}

bool CallReader::behind() {
  const size_t end = rest().find(kClose);
  if (end == std::string_view::npos) return false;
  read_ += end + kClose.size();
  closed_ = true;
  return false;
}

}  // namespace flashmoe
