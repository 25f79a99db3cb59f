// What a folder is packed from and how. The same work gives the same folder, so that one run can go on with what
// another began.
#pragma once

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "pack/importance.h"
#include "pack/recipe.h"

namespace flashmoe {

// Tells one source from another: names, sizes and the first bytes of its files.
nlohmann::ordered_json source_identity(const Checkpoint& checkpoint);

// All that was asked for.
nlohmann::ordered_json settings_of(const Recipe& recipe, const Importance& importance);

}  // namespace flashmoe
