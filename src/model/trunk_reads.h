// The reads that bring the trunk's tensors into memory, through a queue.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "io/read_queue.h"
#include "model/binder.h"
#include "model/matrix_parts.h"

namespace flashmoe {

// Matrices one behind the other. Each, and its scales where they are apart, lies in memory at the same offset within a
// page as on disk, so that direct reads need no copy.
class MatrixReads {
 public:
  // Bytes of memory that a matrix takes.
  static uint64_t span(const Binder::MatrixRequest& request);
  // Where the memory begins that a matrix was read into.
  static const std::byte* begin(const Binder::MatrixRequest& request);

  // `memory`: page-aligned. `direct`: O_DIRECT where a file allows it.
  MatrixReads(const Checkpoint& checkpoint, bool direct, std::byte* memory, uint32_t avoided_drives = 0)
      : checkpoint_(checkpoint), direct_(direct), next_(memory), avoided_drives_(avoided_drives) {}

  // Sets the pointers of the request's target.
  void add(const Binder::MatrixRequest& request);
  std::byte* end() const { return next_; }
  // Reads all that was added; `on_bytes` gets the bytes so far and may be empty. The drives that gave them. Throws
  // Error{io}.
  uint32_t run(ReadQueue& queue, const std::function<void(uint64_t)>& on_bytes) const;

 private:
  struct Source {
    const TensorInfo* tensor;
    const File* file;
  };

  const std::byte* add_part(const Binder::MatrixRequest& request, const MatrixPart& part);
  void add_reads(const Source& source, int fd, uint64_t first, uint64_t end, uint64_t read_end, std::byte* dest);

  const Checkpoint& checkpoint_;
  bool direct_;
  std::byte* next_;
  uint32_t avoided_drives_;
  std::vector<ReadRequest> requests_;
  std::vector<Source> sources_;  // [requests]
};

// Fills `out` from `offset` of the tensor's file, through the page cache. The drives that gave it. Throws Error{io}.
// Nothing else may be in flight.
uint32_t read_stored(ReadQueue& queue, const File& file, const TensorInfo& tensor, uint64_t offset,
                     std::span<std::byte> out, uint32_t avoided_drives);

// XXH3 of a tensor's bytes, scales and biases as the drives have them that are not to be avoided.
uint64_t stored_checksum(ReadQueue& queue, const Checkpoint& checkpoint, const TensorInfo& tensor,
                         uint32_t avoided_drives);

}  // namespace flashmoe
