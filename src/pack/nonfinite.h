// Tells of a weight that is not finite, as whoever looks for it in the source names it.
#pragma once

#include <cstdint>

#include "checkpoint/checkpoint.h"
#include "pack/source.h"

namespace flashmoe {

// `value` came of row and column of c.from. Throws Error{input} with the file, its tensor and the index there.
[[noreturn]] void refuse_nonfinite(const Checkpoint& checkpoint, const Conversion& c, int64_t row, int64_t col,
                                   float value);

}  // namespace flashmoe
