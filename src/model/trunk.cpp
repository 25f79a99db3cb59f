#include "model/trunk.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"

namespace flashmoe {
namespace {

// Every matrix lies in memory at the same offset within a page as on disk, so that direct reads need no copy.
constexpr uint64_t kPage = 4096;
constexpr uint64_t kReadBytes = 4 * kMiB;

// Rows that are put together from several places are read through the page cache, which needs no alignment.
uint64_t offset_in_page(const Binder::MatrixRequest& request) {
  return request.pieces.empty() ? request.tensor->offset % kPage : 0;
}
uint64_t matrix_span(const Binder::MatrixRequest& request) {
  return round_up(offset_in_page(request) + request.bytes(), kPage);
}
uint64_t vector_span(const TensorInfo& tensor) {
  return round_up(static_cast<uint64_t>(tensor.n_values()) * sizeof(float), 64);
}

float transformed(float value, Transform transform) {
  switch (transform) {
    case Transform::one_plus:
      return 1.0F + value;
    case Transform::negative_exp:
      return -std::exp(value);
    case Transform::none:
      break;
  }
  return value;
}

std::span<const float> load_vector(const Binder::VectorRequest& request, const Checkpoint& checkpoint,
                                   std::byte* dest) {
  const TensorInfo& tensor = *request.tensor;
  std::vector<std::byte> raw(tensor.bytes);
  checkpoint.files()[tensor.file]->read(tensor.offset, raw);
  float* values = reinterpret_cast<float*>(dest);
  const int64_t n = tensor.n_values();
  format_info(tensor.format).decode(raw.data(), n, values);
  for (int64_t i = 0; i < n; ++i) {
    values[i] = transformed(values[i], request.transform);
    if (!std::isfinite(values[i])) {
      fail(Fault::input, "{}: tensor {} holds a value that is not finite at index {}; the file is damaged",
           checkpoint.path(), tensor.name, i);
    }
  }
  return {values, static_cast<size_t>(n)};
}

// What is read of one file, in pieces.
struct Source {
  int fd = -1;
  uint64_t first = 0, end = 0;  // bytes of the file
  uint64_t read_end = 0;        // as far as reads go: the end, or that of its last page
};

void add_reads(std::vector<ReadRequest>& reads, const Source& from, std::byte* dest) {
  for (uint64_t at = from.first; at < from.end; at += kReadBytes) {
    const uint64_t to = std::min(from.read_end, at + kReadBytes);
    reads.push_back({from.fd, at, to - at, std::min(to, from.end) - at, dest + (at - from.first), reads.size()});
  }
}

// Puts the matrix at `base` (page-aligned, matrix_span() bytes) once the reads are done.
void add_matrix(std::vector<ReadRequest>& reads, const Binder::MatrixRequest& request, const File& file, bool direct,
                std::byte* base) {
  const TensorInfo& tensor = *request.tensor;
  request.target->data = base + offset_in_page(request);
  if (request.pieces.empty()) {
    const bool direct_file = direct && file.direct_fd() >= 0;
    const uint64_t end = tensor.offset + tensor.bytes;
    add_reads(reads,
              {direct_file ? file.direct_fd() : file.buffered_fd(), round_down(tensor.offset, kPage), end,
               round_up(end, kPage)},
              base);
    return;
  }
  const auto row_bytes = static_cast<uint64_t>(request.target->row_bytes());
  for (const RowPieces& pieces : request.pieces) {
    const uint64_t bytes = static_cast<uint64_t>(pieces.n) * row_bytes;
    for (int64_t i = 0; i < pieces.times; ++i, base += bytes) {
      const uint64_t first = tensor.offset + static_cast<uint64_t>(pieces.first + i * pieces.stride) * row_bytes;
      add_reads(reads, {file.buffered_fd(), first, first + bytes, first + bytes}, base);
    }
  }
}

}  // namespace

uint64_t Trunk::bytes(const Binder& binder) {
  uint64_t total = 0;
  for (const auto& request : binder.matrices()) total += matrix_span(request);
  for (const auto& request : binder.vectors()) total += vector_span(*request.tensor);
  return total;
}

void Trunk::load(const Binder& binder, const Checkpoint& checkpoint, ReadQueue& queue, bool direct, Budget& budget,
                 const std::function<void(uint64_t)>& on_bytes) {
  buffer_ = Buffer(budget, Allotted::trunk, bytes(binder));
  uint64_t at = 0;
  std::vector<ReadRequest> reads;
  std::vector<const TensorInfo*> owner;  // [reads]
  for (const auto& request : binder.matrices()) {
    add_matrix(reads, request, *checkpoint.files()[request.tensor->file], direct, buffer_.data() + at);
    owner.resize(reads.size(), request.tensor);
    at += matrix_span(request);
  }
  uint64_t done_bytes = 0;
  size_t submitted = 0;
  const auto window = static_cast<size_t>(queue.depth()) * 2;
  while (submitted < reads.size() || queue.pending() > 0) {
    const size_t room = window - std::min(window, static_cast<size_t>(queue.pending()));
    const size_t n = std::min(room, reads.size() - submitted);
    queue.submit({reads.data() + submitted, n});
    submitted += n;
    for (const ReadDone& done : queue.wait(true)) {
      const TensorInfo& tensor = *owner[done.tag];
      if (done.error != 0) {
        fail(Fault::io, "{}: reading tensor {} at offset {} failed: {}", checkpoint.files()[tensor.file]->path(),
             tensor.name, reads[done.tag].offset, std::strerror(done.error));
      }
      done_bytes += reads[done.tag].bytes;
      if (on_bytes) on_bytes(done_bytes);
    }
  }
  for (const auto& request : binder.vectors()) {
    *request.target = load_vector(request, checkpoint, buffer_.data() + at);
    at += vector_span(*request.tensor);
  }
}

}  // namespace flashmoe
