// A stretch of bytes in one of a checkpoint's files.
#pragma once

#include <cstdint>

namespace flashmoe {

struct Extent {
  uint32_t file = 0;    // index into Checkpoint::files()
  uint64_t offset = 0;  // first byte, any alignment
  uint64_t bytes = 0;   // 0: not there
};

}  // namespace flashmoe
