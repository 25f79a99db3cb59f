// What the engine's io_uring queue does not do, to see whether it should: registered memory and files, and the polling
// modes.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "io/read_queue.h"

namespace flashmoe {

enum class Polling { none, submission, completion };

// Reads whole requests of `fd` into `memory`, without retries. Nothing where the kernel refuses.
std::unique_ptr<ReadQueue> make_registered_queue(int depth, int fd, std::span<std::byte> memory, Polling polling);

}  // namespace flashmoe
