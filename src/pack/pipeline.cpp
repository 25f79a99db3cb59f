#include "pack/pipeline.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <limits>
#include <mutex>

#include "base/check.h"
#include "base/checksum.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "pack/nonfinite.h"
#include "quant/encode.h"

namespace flashmoe {
namespace {

constexpr int64_t kValuesAtOnce = 16384;  // of a thread: stay in its cache

float transformed(float value, Transform transform) {
  if (transform == Transform::one_plus) return 1.0F + value;
  return transform == Transform::negative_exp ? -std::exp(value) : value;
}

bool all_finite(const std::vector<float>& values) {
  uint32_t largest = 0;  // magnitude, as its bits are in order
  for (const float value : values) largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7fffffffu);
  return largest < std::bit_cast<uint32_t>(std::numeric_limits<float>::infinity());
}

// A vector that grows by itself takes up to twice as much, beside what it had.
template <typename T>
void resize_exactly(std::vector<T>& to, uint64_t n) {
  if (n > to.capacity()) {
    to = {};
    to.reserve(n);
  }
  to.resize(n);
}

}  // namespace

// Rows [first, first + n) of a task.
struct Pipeline::Rows {
  size_t task = 0;
  int64_t first = 0, n = 0;
};

uint64_t memory_of(std::span<const Task> tasks) {
  uint64_t bytes = 0;
  for (const Task& task : tasks) bytes += task.memory_bytes();
  return bytes;
}

bool Chunk::has_room(std::span<const Task> more, uint64_t most_bytes) const {
  return tasks.empty() || memory_bytes + memory_of(more) <= most_bytes;
}

void Chunk::add(Task task) {
  source_bytes += task.source_bytes();
  output_bytes += task.output_bytes();
  memory_bytes += task.memory_bytes();
  tasks.push_back(std::move(task));
}

struct Pipeline::Item {
  Chunk chunk;
  std::vector<std::byte> source, output;
  std::vector<uint64_t> source_at, output_at;  // [tasks]
  std::vector<float> importance;
  std::vector<size_t> importance_at;  // [tasks]
  std::vector<uint64_t> checksums;    // [records]
};

// Hands items from the reader over the caller to the writer; whoever fails stops the others.
struct Pipeline::Stages {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::unique_ptr<Item>> free, read, encoded;
  bool all_read = false, all_encoded = false, stopping = false;
  std::exception_ptr error;
  uint64_t written_bytes = 0;
  double read_s = 0, write_s = 0;  // each its own thread's until that is joined

  std::unique_ptr<Item> take(std::deque<std::unique_ptr<Item>>& queue, const bool& ended) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !queue.empty() || ended || stopping; });
    if (stopping || queue.empty()) return nullptr;
    std::unique_ptr<Item> item = std::move(queue.front());
    queue.pop_front();
    return item;
  }
  void put(std::deque<std::unique_ptr<Item>>& queue, std::unique_ptr<Item> item) {
    const std::lock_guard lock(mutex);
    queue.push_back(std::move(item));
    changed.notify_all();
  }
  uint64_t written() {
    const std::lock_guard lock(mutex);
    return written_bytes;
  }
  void end(bool& flag) {
    const std::lock_guard lock(mutex);
    flag = true;
    changed.notify_all();
  }
  void stop(std::exception_ptr why) {
    const std::lock_guard lock(mutex);
    if (!error) error = std::move(why);
    stopping = true;
    changed.notify_all();
  }
};

void Pipeline::read(Item& item) const {
  const std::vector<Task>& tasks = item.chunk.tasks;
  item.source_at.assign(tasks.size(), 0);
  item.output_at.assign(tasks.size(), 0);
  item.importance_at.assign(tasks.size(), 0);
  uint64_t source = 0, output = 0, importance = 0;
  for (size_t i = 0; i < tasks.size(); ++i) {
    item.source_at[i] = source;
    item.output_at[i] = output;
    item.importance_at[i] = importance;
    output += tasks[i].output_bytes();
    if (tasks[i].matrix.as_it_is()) continue;
    source += tasks[i].source_bytes();
    importance += tasks[i].matrix.importance.bytes / sizeof(float);
  }
  resize_exactly(item.source, source);
  resize_exactly(item.output, output);
  resize_exactly(item.importance, importance);
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Conversion& c = tasks[i].matrix;
    std::byte* to = c.as_it_is() ? item.output.data() + item.output_at[i] : item.source.data() + item.source_at[i];
    for (const Extent& part : c.from.parts) {
      if (part.bytes > 0) checkpoint_.files()[part.file]->read(part.offset, {to, static_cast<size_t>(part.bytes)});
      to += part.bytes;
    }
    if (c.as_it_is() || c.importance.bytes == 0) continue;
    importance_.read(c.importance,
                     std::span(item.importance).subspan(item.importance_at[i], static_cast<size_t>(c.from.cols)));
  }
}

// The rows' values as they are packed, those that are not finite included.
void Pipeline::decode_rows_of(const Item& item, size_t task, int64_t first_row, int64_t n_rows,
                              std::vector<float>& values) const {
  const Conversion& c = item.chunk.tasks[task].matrix;
  const std::byte* from =
      c.as_it_is() ? item.output.data() + item.output_at[task] : item.source.data() + item.source_at[task];
  const MatrixView view =
      c.from.view({from, from + c.from.parts[0].bytes, from + c.from.parts[0].bytes + c.from.parts[1].bytes});
  values.resize(static_cast<size_t>(n_rows * c.from.cols));
  for (int64_t r = 0; r < n_rows; ++r)
    view.decode(first_row + r, 0, c.from.cols, &values[static_cast<size_t>(r * c.from.cols)]);
  if (c.transform == Transform::none) return;
  for (float& value : values) value = transformed(value, c.transform);
}

// Returns whether all values are finite.
bool Pipeline::encode_rows_of(Item& item, size_t task, int64_t first_row, int64_t n_rows) const {
  thread_local std::vector<float> values;
  const Conversion& c = item.chunk.tasks[task].matrix;
  const FormatInfo& from = format_info(c.from.format);
  if (c.as_it_is() && from.scales_finite != nullptr) {
    const int64_t row_bytes = format_bytes(c.from.format, c.from.cols);
    return from.scales_finite(item.output.data() + item.output_at[task] + first_row * row_bytes,
                              n_rows * row_bytes / from.block_bytes);
  }
  decode_rows_of(item, task, first_row, n_rows, values);
  const bool finite = all_finite(values);
  if (c.as_it_is()) return finite;
  if (!finite) {
    for (float& value : values) value = std::isfinite(value) ? value : 0.0F;
  }
  std::byte* to = item.output.data() + item.output_at[task];
  const float* importance = c.importance.bytes > 0 ? item.importance.data() + item.importance_at[task] : nullptr;
  const auto parts = c.to.part_bytes();
  const int64_t scales = first_row * scale_row_bytes(c.to.grid, c.to.cols);
  encode_rows(c.to.format, c.to.grid, values.data(), n_rows, c.to.cols, importance,
              {to + first_row * format_bytes(c.to.format, c.to.cols), to + parts[0] + scales,
               to + parts[0] + parts[1] + scales});
  return finite;
}

void Pipeline::encode(Item& item) const {
  const std::vector<Task>& tasks = item.chunk.tasks;
  std::vector<Rows> pieces;
  for (size_t i = 0; i < tasks.size(); ++i) {
    const Conversion& c = tasks[i].matrix;
    if (c.as_it_is() && (c.raw || allow_nonfinite_)) continue;
    const int64_t step = std::max<int64_t>(1, kValuesAtOnce / c.from.cols);
    for (int64_t row = 0; row < c.from.rows; row += step) pieces.push_back({i, row, std::min(step, c.from.rows - row)});
  }
  std::atomic<size_t> first_bad = pieces.size();
  pool_.parallel_for(static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto p = static_cast<size_t>(begin); p < static_cast<size_t>(end); ++p) {
      const Rows& rows = pieces[p];
      if (encode_rows_of(item, rows.task, rows.first, rows.n)) continue;
      size_t before = first_bad;
      while (p < before && !first_bad.compare_exchange_weak(before, p)) {
      }
    }
  });
  if (first_bad < pieces.size() && !allow_nonfinite_) refuse(item, pieces[first_bad]);
  sum_records(item);
}

void Pipeline::refuse(const Item& item, const Rows& rows) const {
  const Conversion& c = item.chunk.tasks[rows.task].matrix;
  std::vector<float> values;
  decode_rows_of(item, rows.task, rows.first, rows.n, values);
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  const int64_t at = bad - values.begin();
  refuse_nonfinite(checkpoint_, c, rows.first + at / c.from.cols, at % c.from.cols, *bad);
}

void Pipeline::sum_records(Item& item) const {
  const std::vector<Task>& tasks = item.chunk.tasks;
  const size_t n = item.chunk.tasks_per_record;
  item.checksums.assign(n > 0 ? tasks.size() / n : 0, 0);
  pool_.parallel_for(static_cast<int64_t>(item.checksums.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto r = static_cast<size_t>(begin); r < static_cast<size_t>(end); ++r) {
      uint64_t bytes = 0;
      for (size_t i = 0; i < n; ++i) bytes += tasks[r * n + i].output_bytes();
      item.checksums[r] = checksum_of({item.output.data() + item.output_at[r * n], static_cast<size_t>(bytes)});
    }
  });
}

void Pipeline::write(const Item& item, DurableFile& out) const {
  uint64_t begin = 0, at = 0, end = 0;  // in the item and in the file, of what is not written yet
  const auto flush = [&] {
    if (end > begin) out.write(at, std::span(item.output).subspan(begin, end - begin));
    begin = end;
  };
  for (const Task& task : item.chunk.tasks) {
    const auto parts = task.matrix.to.part_bytes();
    for (size_t p = 0; p < parts.size(); ++p) {
      if (parts[p] == 0) continue;
      if (end > begin && task.at[p] != at + (end - begin)) flush();
      if (end == begin) at = task.at[p];
      end += parts[p];
    }
  }
  flush();
}

void Pipeline::read_all(Stages& stages, const std::function<Chunk()>& next) const {
  const bool never = false;
  try {
    while (std::unique_ptr<Item> item = stages.take(stages.free, never)) {
      item->chunk = next();
      if (item->chunk.tasks.empty()) break;
      const uint64_t began_ns = now_ns();
      read(*item);
      stages.read_s += seconds_since(began_ns);
      stages.put(stages.read, std::move(item));
    }
    stages.end(stages.all_read);
  } catch (...) {
    stages.stop(std::current_exception());
  }
}

void Pipeline::write_all(Stages& stages, DurableFile& out) const {
  try {
    while (std::unique_ptr<Item> item = stages.take(stages.encoded, stages.all_encoded)) {
      const uint64_t began_ns = now_ns();
      write(*item, out);
      stages.write_s += seconds_since(began_ns);
      const uint64_t bytes = item->chunk.output_bytes;
      stages.put(stages.free, std::move(item));
      const std::lock_guard lock(stages.mutex);
      stages.written_bytes += bytes;
    }
  } catch (...) {
    stages.stop(std::current_exception());
  }
}

std::vector<uint64_t> Pipeline::encode_all(Stages& stages, const std::function<void(uint64_t)>& on_done) {
  std::vector<uint64_t> checksums;
  try {
    while (std::unique_ptr<Item> item = stages.take(stages.read, stages.all_read)) {
      const uint64_t began_ns = now_ns();
      encode(*item);
      times_.encode_s += seconds_since(began_ns);
      checksums.insert(checksums.end(), item->checksums.begin(), item->checksums.end());
      times_.read_bytes += item->chunk.source_bytes;
      for (const Task& task : item->chunk.tasks) {
        if (!task.matrix.as_it_is()) times_.encoded_bytes += task.source_bytes();
      }
      times_.written_bytes += item->chunk.output_bytes;
      stages.put(stages.encoded, std::move(item));
      on_done(stages.written());
    }
    stages.end(stages.all_encoded);
  } catch (...) {
    stages.stop(std::current_exception());
  }
  return checksums;
}

std::vector<uint64_t> Pipeline::run(const std::function<Chunk()>& next, DurableFile& out,
                                    const std::function<void(uint64_t)>& on_done) {
  Stages stages;
  const uint64_t start_ns = now_ns();
  for (int i = 0; i < kChunksInFlight; ++i) stages.free.push_back(std::make_unique<Item>());
  Thread reader, writer;
  try {
    reader = Thread([&] { read_all(stages, next); });
    writer = Thread([&] { write_all(stages, out); });
  } catch (...) {
    stages.stop(std::current_exception());
  }
  std::vector<uint64_t> checksums = encode_all(stages, on_done);
  for (Thread* thread : {&reader, &writer}) {
    if (thread->joinable()) thread->join();
  }
  if (stages.error) std::rethrow_exception(stages.error);
  times_.read_s += stages.read_s;
  times_.write_s += stages.write_s;
  times_.total_s += seconds_since(start_ns);
  on_done(stages.written_bytes);
  return checksums;
}

}  // namespace flashmoe
