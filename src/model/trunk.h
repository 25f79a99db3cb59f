// The weights that every token needs, in memory: everything but the routed experts.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "io/read_queue.h"
#include "kernels/kernels.h"
#include "memory/buffer.h"
#include "model/binder.h"

namespace flashmoe {

// Where matrices of MatrixUse::rows are: in memory like the others, or left in their file.
enum class RowsOf { memory, file };

class Trunk {
 public:
  // Bytes of Allotted::trunk that load() takes.
  static uint64_t bytes(const Binder& binder, RowsOf rows);

  struct Reading {
    ReadQueue& queue;
    ThreadPool& pool;
    bool direct = false;                          // use O_DIRECT where a file allows it
    bool verify = true;                           // compare tensors with their checksums, where the checkpoint has any
    const KernelTable* interleave_for = nullptr;  // matrices are rearranged as this table wants them; null: none is
    RowsOf rows = RowsOf::memory;
  };
  // Reads every tensor the binder matched and fills the binder's targets, which borrow from this Trunk; those that stay
  // in their file keep their null data.
  // `on_bytes` gets the bytes read so far. Throws Error{io, input}. A tensor with another checksum than was packed is
  // read once more, from another drive of the queue where there is one.
  void load(const Binder& binder, const Checkpoint& checkpoint, const Reading& how, Budget& budget,
            const std::function<void(uint64_t)>& on_bytes);

  std::span<const std::byte> memory() const { return buffer_.span(); }  // empty before load()
  // Bit set: drives of the queue whose copy of what stays in its file is damaged.
  uint32_t drives_without_rows() const { return drives_without_rows_; }

 private:
  void interleave_matrices(const Binder& binder, const KernelTable& kernels, ThreadPool& pool);
  void verify_matrices(const Binder& binder, const Checkpoint& checkpoint, const Reading& how);
  static void check_routers(const Binder& binder, const Checkpoint& checkpoint, ThreadPool& pool);
  uint32_t read_anew(const Binder::MatrixRequest& request, const Checkpoint& checkpoint, const Reading& how,
                     uint32_t avoided_drives);

  Buffer buffer_;
  uint32_t drives_without_rows_ = 0;
};

}  // namespace flashmoe
