// Reads, converts and writes matrices, the three at once: while one chunk is converted the next is read and the one
// before is written.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "pack/durable_file.h"
#include "pack/importance.h"
#include "pack/source.h"

namespace flashmoe {

inline constexpr int kChunksInFlight = 3;  // one at each stage

// Rows of one matrix, and where their weights, scales and biases go in the output.
struct Task {
  Conversion matrix;
  std::array<uint64_t, kMatrixParts> at = {};
  uint64_t source_bytes() const { return matrix.from.bytes(); }
  uint64_t output_bytes() const { return matrix.to.bytes(); }
  uint64_t memory_bytes() const { return source_bytes() + output_bytes() + matrix.importance.bytes; }
};
uint64_t memory_of(std::span<const Task> tasks);

// What goes through together.
struct Chunk {
  std::vector<Task> tasks;
  size_t tasks_per_record = 0;  // of a bank; 0: no checksums
  uint64_t source_bytes = 0, output_bytes = 0, memory_bytes = 0;
  void add(Task task);
  // Whether it stays within `most_bytes` of memory with these; those that are larger go alone.
  bool has_room(std::span<const Task> more, uint64_t most_bytes) const;
};

struct PackTimes {
  double read_s = 0, encode_s = 0, write_s = 0, total_s = 0;
  uint64_t read_bytes = 0, encoded_bytes = 0, written_bytes = 0;
};

class Pipeline {
 public:
  Pipeline(const Checkpoint& checkpoint, const Importance& importance, ThreadPool& pool, bool allow_nonfinite)
      : checkpoint_(checkpoint), importance_(importance), pool_(pool), allow_nonfinite_(allow_nonfinite) {}

  // Chunks from `next`, until it gives an empty one, into `out`. `on_done` gets the bytes written so far, on the
  // caller's thread, and may throw. Returns the checksums of the records, in order.
  std::vector<uint64_t> run(const std::function<Chunk()>& next, DurableFile& out,
                            const std::function<void(uint64_t)>& on_done);

  PackTimes& times() { return times_; }

 private:
  struct Item;
  struct Rows;
  struct Stages;
  void read_all(Stages& stages, const std::function<Chunk()>& next) const;
  std::vector<uint64_t> encode_all(Stages& stages, const std::function<void(uint64_t)>& on_done);
  void write_all(Stages& stages, DurableFile& out) const;
  void read(Item& item) const;
  void encode(Item& item) const;
  void decode_rows_of(const Item& item, size_t task, int64_t first_row, int64_t n_rows,
                      std::vector<float>& values) const;
  bool encode_rows_of(Item& item, size_t task, int64_t first_row, int64_t n_rows) const;
  [[noreturn]] void refuse(const Item& item, const Rows& rows) const;
  void sum_records(Item& item) const;
  void write(const Item& item, DurableFile& out) const;

  const Checkpoint& checkpoint_;
  const Importance& importance_;
  ThreadPool& pool_;
  bool allow_nonfinite_;
  PackTimes times_;
};

}  // namespace flashmoe
