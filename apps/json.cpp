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

Json parse_json(std::string_view text) {
  try {
    return Json::parse(text, shallow);
  } catch (const Json::out_of_range&) {  // 1e999
    throw Error(Fault::input, "has a number that is too large to be read");
  }
}

}  // namespace flashmoe
