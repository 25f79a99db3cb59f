// Checksums of what files hold, read in small steps.
#pragma once

#include <cstdint>
#include <functional>

#include "base/checksum.h"
#include "io/file.h"

namespace flashmoe {

// Adds bytes [offset, offset + bytes). `on_bytes` gets the bytes of each step and may be empty.
void add_range(const File& file, uint64_t offset, uint64_t bytes, const std::function<void(uint64_t)>& on_bytes,
               Checksum& checksum);

uint64_t checksum_of_file(const File& file);

}  // namespace flashmoe
