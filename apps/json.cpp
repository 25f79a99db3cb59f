#include "json.h"

#include <fmt/format.h>

#include "flashmoe/error.h"
#include "flashmoe/json_extent.h"

namespace flashmoe {
std::string dump(const Json& json, int indent) { return json.dump(indent, ' ', false, Json::error_handler_t::replace); }

Json parse_json(std::string_view text) {
  const JsonExtent extent = json_extent(text);
  if (extent.n_values > kMostJsonValues) {
    throw Error(Fault::input, fmt::format("has more than {} values and names; send a smaller one", kMostJsonValues));
  }
  if (const auto excess = extent.excess()) throw Error(Fault::input, *excess);
  try {
    return Json::parse(text);  // with a callback it looks through a whole list at the end of each object in it
  } catch (const Json::out_of_range&) {  // 1e999
    throw Error(Fault::input, "has a number that is too large to be read");
  }
}

}  // namespace flashmoe
