// Reads of experts that failed: how often to try again, and what to tell.
#pragma once

#include <cerrno>
#include <cstdint>
#include <string>

namespace flashmoe {

// A read that fails with EIO is tried this often in all: some controllers recover a sector on the second attempt.
inline constexpr int kReadTries = 3;
inline bool worth_another_try(int error, int n_tries) { return error == EIO && n_tries < kReadTries; }

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
