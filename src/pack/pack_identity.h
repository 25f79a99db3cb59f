// What a folder is packed from and how. The same work gives the same folder, so that one run can go on with what
// another began.
#pragma once

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint.h"
#include "pack/importance.h"
#include "pack/recipe.h"

namespace flashmoe {

// Tells one source from another: names, sizes, the first bytes of its files, and when these were changed last.
nlohmann::ordered_json source_identity(const Checkpoint& checkpoint);
// As a finished folder has it: copies of a source give the same bytes.
nlohmann::ordered_json without_times(nlohmann::ordered_json source);
// Whether work that was begun, or is finished, goes on with the source as it is now.
bool is_same_source(const nlohmann::ordered_json& begun, const nlohmann::ordered_json& now);

// All that was asked for.
nlohmann::ordered_json settings_of(const Recipe& recipe, const Importance& importance);

}  // namespace flashmoe
