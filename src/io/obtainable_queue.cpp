#include "io/obtainable_queue.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace flashmoe {
namespace {

constexpr int kLeastRing = 8;     // reads in flight; with fewer, threads are as good
constexpr int kMostThreads = 16;  // instead of a ring

// Half as deep each time it is refused, down to `least`. Null: not even that is to be had; `refused` gets the first
// why.
std::unique_ptr<ReadQueue> deepest_queue(ReadEngine engine, int depth, int least, const QueueMaker& make,
                                         std::unique_ptr<Error>& refused) {
  for (;; depth = std::max(depth / 2, least)) {
    try {
      return make(engine, depth);
    } catch (const Error& error) {
      if (refused == nullptr) refused = std::make_unique<Error>(error);
    }
    if (depth <= least) return nullptr;
  }
}

}  // namespace

ObtainableQueue obtain_queue(ReadEngine engine, int depth, bool may_pread, const QueueMaker& make) {
  std::unique_ptr<Error> refused;
  std::unique_ptr<ReadQueue> queue;
  if (engine == ReadEngine::uring) {
    queue = deepest_queue(engine, depth, may_pread ? kLeastRing : 1, make, refused);
    depth = std::min(depth, kMostThreads);
  }
  if (queue == nullptr && may_pread) queue = deepest_queue(ReadEngine::pread, depth, 0, make, refused);
  if (queue == nullptr) throw *refused;
  return {std::move(queue), refused == nullptr ? "" : short_refusal(refused->what())};
}

std::string short_refusal(const std::string& message) { return message.substr(0, message.find_first_of(":;")); }

}  // namespace flashmoe
