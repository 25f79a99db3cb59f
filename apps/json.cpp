#include "json.h"

#include <fmt/format.h>

#include "flashmoe/error.h"

namespace flashmoe {
namespace {

constexpr int kDeepest = 100;

bool shallow(int depth, Json::parse_event_t, const Json&) {
  if (depth <= kDeepest) return true;
  throw Error(Fault::input, fmt::format("is nested more than {} levels deep", kDeepest));
}

}  // namespace

std::string dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

size_t count_values(std::string_view json) {
  size_t n = 0;
  bool in_word = false;  // a number, true, false or null
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    const bool begins = c == '"' || c == '[' || c == '{';
    const bool between =
        c == ',' || c == ':' || c == ']' || c == '}' || c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (begins || (!between && !in_word)) ++n;
    in_word = !begins && !between;
    if (c != '"') continue;
    while (++i < json.size() && json[i] != '"') {
      if (json[i] == '\\') ++i;
    }
  }
  return n;
}

Json parse_json(std::string_view text) {
  if (count_values(text) > kMostJsonValues) {
    throw Error(Fault::input, fmt::format("has more than {} values and names; send a smaller one", kMostJsonValues));
  }
  try {
    return Json::parse(text, shallow);
  } catch (const Json::out_of_range&) {  // 1e999
    throw Error(Fault::input, "has a number that is too large to be read");
  }
}

}  // namespace flashmoe
