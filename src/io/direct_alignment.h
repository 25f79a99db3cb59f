// What a drive demands of reads past the page cache.
#pragma once

#include <cstdint>

#include "io/file.h"

namespace flashmoe {

// Runs one real O_DIRECT transfer: the alignment (512 or 4096) it works with, or 0 where it does not.
uint32_t probe_direct_alignment(const File& file);

}  // namespace flashmoe
