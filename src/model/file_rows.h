// Rows of a matrix that stays in its file, read when they are wanted: of an embedding a token needs one row, and where
// memory is short the others are worth less there than experts.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/read_queue.h"
#include "memory/buffer.h"
#include "model/matrix_parts.h"

namespace flashmoe {

class FileRows {
 public:
  // Bytes of Allotted::read_buffers that the constructor takes. `alignment`: of direct reads.
  static uint64_t bytes(const Binder::MatrixRequest& matrix, uint32_t alignment);

  // `alignment` 1: reads go through the page cache. The matrix must have all its rows as they lie. `avoided_drives`: of
  // the queue, whose copy is damaged.
  FileRows(const Binder::MatrixRequest& matrix, const Checkpoint& checkpoint, std::unique_ptr<ReadQueue> queue,
           uint32_t alignment, Budget& budget, uint32_t avoided_drives = 0);

  // out [rows.size(), cols]: those rows of the matrix, in any order. Throws Error{io}. One thread calls.
  void read(std::span<const int32_t> rows, float* out);

 private:
  void read_together(std::span<const int32_t> rows);
  void add_requests(int32_t row, std::byte* place);
  void decode(int32_t row, const std::byte* place, float* out) const;
  [[noreturn]] void fail_read(const ReadDone& done) const;

  const MatrixView& matrix_;
  std::string name_;
  std::array<MatrixPart, 3> parts_;
  std::array<int, 3> descriptors_ = {};
  std::array<std::string, 3> paths_;
  uint64_t alignment_, place_bytes_;  // of a row in the buffer
  uint32_t avoided_drives_;
  Buffer buffer_;
  std::vector<ReadRequest> requests_;
  std::unique_ptr<ReadQueue> queue_;
};

}  // namespace flashmoe
