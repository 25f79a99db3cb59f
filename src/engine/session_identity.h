// What remembered conversations are tied to: they are taken over only where they would be computed to the same bits.
#pragma once

#include <string>

#include "engine/engine_parts.h"

namespace flashmoe {

std::string session_identity(const EngineParts& parts);

}  // namespace flashmoe
