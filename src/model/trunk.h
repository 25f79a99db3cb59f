// The weights that every token needs, in memory: everything but the routed experts.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "io/read_queue.h"
#include "memory/buffer.h"
#include "model/binder.h"

namespace flashmoe {

class Trunk {
 public:
  // Bytes of Allotted::trunk that load() takes.
  static uint64_t bytes(const Binder& binder);

  // Reads every tensor the binder matched and fills the binder's targets, which borrow from this Trunk.
  // `direct`: use O_DIRECT where a file allows it. `on_bytes` gets the bytes read so far. Throws Error{io, input}.
  void load(const Binder& binder, const Checkpoint& checkpoint, ReadQueue& queue, bool direct, Budget& budget,
            const std::function<void(uint64_t)>& on_bytes);

  std::span<const std::byte> memory() const { return buffer_.span(); }  // empty before load()

 private:
  Buffer buffer_;
};

}  // namespace flashmoe
