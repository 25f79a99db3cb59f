// What takes long asks its caller whether to go on.
#pragma once

#include <functional>

#include "base/error.h"

namespace flashmoe {

// Throws Error{interrupted} when `keep_going` says no; an empty one never does. `what` follows "interrupted while".
inline void stop_if_asked(const std::function<bool()>& keep_going, const char* what) {
  if (keep_going && !keep_going()) fail(Fault::interrupted, "interrupted while {}", what);
}

}  // namespace flashmoe
