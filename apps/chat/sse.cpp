#include "chat/sse.h"

#include <algorithm>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {
constexpr size_t kMostBytes = 16U << 20U;
}

void SseParser::add(std::string_view bytes) {
  rest_ += bytes;
  if (rest_.size() + data_.size() > kMostBytes) throw Error(Fault::input, "the server sent an event without end");
  size_t start = 0;
  for (size_t end; (end = rest_.find('\n', start)) != std::string::npos; start = end + 1) {
    std::string_view whole = std::string_view(rest_).substr(start, end - start);
    if (whole.ends_with('\r')) whole.remove_suffix(1);
    line(whole);
  }
  rest_.erase(0, start);
}

void SseParser::line(std::string_view line) {
  if (line.empty()) {
    if (has_data_) on_data_(data_);
    data_.clear();
    has_data_ = false;
    return;
  }
  const size_t colon = std::min(line.find(':'), line.size());
  std::string_view value = line.substr(std::min(colon + 1, line.size()));
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (colon == 0) return on_comment_(value);
  if (line.substr(0, colon) != "data") return;
  if (has_data_) data_ += '\n';
  data_ += value;
  has_data_ = true;
}

}  // namespace flashmoe
