#include "text/text_stream.h"

#include <algorithm>

#include "text/unicode.h"

namespace flashmoe {
namespace {

constexpr size_t kRoomForText_bytes = 4096;  // so that ordinary tokens never grow the buffers

struct Found {
  size_t start, end;
};

// The stop string that is complete first; of those that end together the one that starts first. So the answer does not
// depend on where tokens end.
Found first_stop(std::string_view text, const std::vector<std::string>& stops) {
  Found first{std::string_view::npos, std::string_view::npos};
  for (const std::string& stop : stops) {
    const size_t start = text.find(stop);
    if (start == std::string_view::npos) continue;
    const size_t end = start + stop.size();
    if (end < first.end || (end == first.end && start < first.start)) first = {start, end};
  }
  return first;
}

// Bytes at the end of `text` that could be the beginning of a stop string.
size_t possible_stop_bytes(std::string_view text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops) {
    for (size_t n = std::min(text.size(), stop.size() - 1); n > longest; --n) {
      if (text.ends_with(std::string_view(stop).substr(0, n))) longest = n;
    }
  }
  return longest;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stop) : tokenizer_(tokenizer) {
  size_t longest = 0;
  for (std::string& text : stop) {
    std::string storage;
    std::string valid(valid_utf8(text, storage));
    if (valid.empty()) continue;
    longest = std::max(longest, valid.size());
    stop_.push_back(std::move(valid));
  }
  pending_.reserve(kRoomForText_bytes + longest);
  out_.reserve(kRoomForText_bytes + 2 * longest);
}

std::string_view TextStream::push(int32_t id) {
  if (stopped_ || tokenizer_.is_special(id)) return {};
  pending_ += tokenizer_.bytes(id);
  return emit(false);
}

std::string_view TextStream::finish() {
  if (stopped_) return {};
  return emit(true);
}

std::string_view TextStream::emit(bool last) {
  out_.clear();
  pending_.erase(0, append_valid_utf8(pending_, last, out_));
  const Found stop = first_stop(out_, stop_);
  if (stop.start != std::string_view::npos) {
    out_.resize(stop.start);
    pending_.clear();
    stopped_ = true;
  } else if (!last) {
    const size_t held = possible_stop_bytes(out_, stop_);
    pending_.insert(0, out_, out_.size() - held, held);
    out_.resize(out_.size() - held);
  }
  return out_;
}

}  // namespace flashmoe
