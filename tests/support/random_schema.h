// JSON schemas at random, of all that the grammar enforces.
#pragma once

#include <nlohmann/json.hpp>

#include "support/random.h"

namespace flashmoe {

// With $defs that may refer to each other and to themselves. A few can be met by no value.
nlohmann::ordered_json random_schema(Random& random);

}  // namespace flashmoe
