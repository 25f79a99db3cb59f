// What a run that was killed leaves in its folder and nothing goes on with.
#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/manifest.h"

namespace flashmoe {

// Of files that are not finished, and of those that are but that `manifest` does not know yet.
uint64_t leftover_bytes(const std::string& folder, const Manifest& manifest);

// Removes them; for whoever holds the folder's lock. Throws Error{io}.
void remove_leftovers(const std::string& folder, const Manifest& manifest);

}  // namespace flashmoe
