// Reads a binary header in order, never past the end of its file and never into more memory than agreed.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"

namespace flashmoe {

class HeaderReader {
 public:
  explicit HeaderReader(const File& file);

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return file_.size() - position_; }

  // Each throws Error{input} that names `what` when the file ends first. Numbers are little-endian.
  template <typename T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }
  // A 64-bit length and that many bytes.
  std::string string(std::string_view what, uint64_t max_bytes);

  // Throws unless n_items of at least item_bytes each can follow.
  void expect_room(uint64_t n_items, uint64_t item_bytes, std::string_view what) const;
  // Counts memory that the decoded header takes; throws Error{input} when it is absurdly much.
  void spend(uint64_t bytes, std::string_view what);

 private:
  const std::byte* take(size_t n_bytes, std::string_view what);
  void copy(std::span<std::byte> out, std::string_view what);

  const File& file_;
  uint64_t position_ = 0;
  uint64_t spent_bytes_ = 0;
  uint64_t window_begin_ = 0;  // offset in the file of window_[0]
  std::vector<std::byte> window_;
};

}  // namespace flashmoe
