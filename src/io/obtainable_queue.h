// A read queue where the system's limits refuse the one that is wanted.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "io/disk_choice.h"
#include "io/read_queue.h"

namespace flashmoe {

struct ObtainableQueue {
  std::unique_ptr<ReadQueue> queue;
  std::string refusal;  // why it is another than was wanted; empty: it is not
};

using QueueMaker = std::function<std::unique_ptr<ReadQueue>(ReadEngine, int)>;

// The wanted queue, or else the deepest that is to be had: of io_uring as long as it keeps a drive busy, then, where
// `may_pread`, of threads, or without any. Throws the Error of the first refusal where nothing is.
ObtainableQueue obtain_queue(ReadEngine engine, int depth, bool may_pread, const QueueMaker& make = make_read_queue);

// Of an Error's message what a note has room for: all before its explanation and what to do.
std::string short_refusal(const std::string& message);

}  // namespace flashmoe
