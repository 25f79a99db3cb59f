// Server-sent events, cut out of a stream of bytes.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace flashmoe {

class SseParser {
 public:
  // `on_data` gets the data of each event, `on_comment` the text behind a colon at a line's start.
  SseParser(std::function<void(std::string_view)> on_data, std::function<void(std::string_view)> on_comment)
      : on_data_(std::move(on_data)), on_comment_(std::move(on_comment)) {}
  // Throws Error{input} for an event of more than 16 MiB.
  void add(std::string_view bytes);

 private:
  void line(std::string_view line);
  std::function<void(std::string_view)> on_data_, on_comment_;
  std::string rest_;  // a line that has not ended
  std::string data_;
  bool has_data_ = false;
};

}  // namespace flashmoe
