// What to tell of an expert's read that failed.
#pragma once

#include <cstdint>
#include <string>

namespace flashmoe {

struct ReadFailure {
  int layer = 0;
  int expert = 0;
  std::string matrices;  // "gate, up"
  std::string path;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  int error = 0;  // errno
  int n_tries = 1;
};

// Throws Error{io}.
[[noreturn]] void fail_read(const ReadFailure& failure);

}  // namespace flashmoe
