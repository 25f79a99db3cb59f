#include "flashmoe/json_extent.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace flashmoe {
namespace {

class Reader {
 public:
  void open() {
    extent_.n_levels = std::max(extent_.n_levels, ++level_);
    if (level_ < n_names_.size()) n_names_[level_] = 0;
  }
  void close() { level_ -= level_ > 0 ? 1 : 0; }
  void name() {
    if (level_ < n_names_.size()) extent_.most_names = std::max(extent_.most_names, ++n_names_[level_]);
  }
  void value() { ++extent_.n_values; }
  const JsonExtent& extent() const { return extent_; }

 private:
  JsonExtent extent_;
  size_t level_ = 0;
  std::array<size_t, kMostJsonLevels + 1> n_names_ = {};  // [levels], of the open list or object
};

size_t end_of_string(std::string_view json, size_t quote) {
  size_t i = quote + 1;
  for (; i < json.size() && json[i] != '"'; ++i) {
    if (json[i] == '\\') ++i;
  }
  return i;
}

}  // namespace

JsonExtent json_extent(std::string_view json) {
  Reader reader;
  bool in_word = false;  // a number, true, false or null
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    const bool opens = c == '[' || c == '{', closes = c == ']' || c == '}';
    const bool between = closes || c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
    const bool begins = opens || c == '"';
    if (begins || (!between && !in_word)) reader.value();
    in_word = !begins && !between;
    if (opens) reader.open();
    if (closes) reader.close();
    if (c == ':') reader.name();
    if (c == '"') i = end_of_string(json, i);
  }
  return reader.extent();
}

std::optional<std::string> JsonExtent::excess() const {
  if (n_levels > kMostJsonLevels) return fmt::format("is nested more than {} levels deep", kMostJsonLevels);
  if (most_names <= kMostJsonNames) return {};
  return fmt::format("has an object with more than {} names; divide it into smaller ones", kMostJsonNames);
}

}  // namespace flashmoe
