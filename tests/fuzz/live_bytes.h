// Bytes that operator new has given out and not yet got back, and the most there ever were since a reset.
#pragma once

#include <cstddef>

namespace flashmoe {

size_t live_bytes();
size_t peak_live_bytes();
void reset_peak_live_bytes();

}  // namespace flashmoe
