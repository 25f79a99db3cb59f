// The folder that is packed into: where it may not be, and what it has room for.
#pragma once

#include <cstdint>
#include <string>

#include "flashmoe/pack.h"

namespace flashmoe {

// Throws Error{usage} where the destination is missing, or is where the source is.
void refuse_same_place(const PackOptions& options);
// Throws Error{usage} for a folder that is packed, from which it takes what a stop in the last moments left.
void refuse_packed(const std::string& folder);

uint64_t free_bytes(const std::string& folder);
// The errno with which a file could not be made in it; 0: it could.
int why_not_writable(const std::string& folder);

}  // namespace flashmoe
