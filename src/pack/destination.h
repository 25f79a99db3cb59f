// Where nothing is packed into.
#pragma once

#include <string>

#include "flashmoe/pack.h"

namespace flashmoe {

// Throws Error{usage} where the destination is missing, or is where the source is.
void refuse_same_place(const PackOptions& options);
// Throws Error{usage} for a folder that is packed, from which it takes what a stop in the last moments left.
void refuse_packed(const std::string& folder);

}  // namespace flashmoe
