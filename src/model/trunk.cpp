#include "model/trunk.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "checkpoint/trunk_checksums.h"
#include "io/read_error.h"
#include "kernels/interleaving.h"
#include "model/matrix_parts.h"

namespace flashmoe {
namespace {

// Every matrix, and its scales where they are apart, lies in memory at the same offset within a page as on disk, so
// that direct reads need no copy.
constexpr uint64_t kPage = 4096;
constexpr uint64_t kReadBytes = 4 * kMiB;

// Rows that are put together from several places are read through the page cache, which needs no alignment.
uint64_t offset_in_page(const Binder::MatrixRequest& request, const MatrixPart& part) {
  return request.pieces.empty() ? part.stored.offset % kPage : 0;
}
uint64_t part_span(const Binder::MatrixRequest& request, const MatrixPart& part) {
  return part.bytes == 0 ? 0 : round_up(offset_in_page(request, part) + part.bytes, kPage);
}
uint64_t matrix_span(const Binder::MatrixRequest& request) {
  uint64_t span = 0;
  for (const MatrixPart& part : parts_of(request)) span += part_span(request, part);
  return span;
}
bool stays_in_file(const Binder::MatrixRequest& request, RowsOf rows) {
  return rows == RowsOf::file && request.use == MatrixUse::rows;
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

[[noreturn]] void fail_not_finite(const Checkpoint& checkpoint, const TensorInfo& tensor, int64_t index) {
  fail(Fault::input, "{}: tensor {} holds a value that is not finite at index {}; the file is damaged",
       checkpoint.path(), tensor.name, index);
}

// The first of values [rows, cols] that is not finite; -1: all are.
int64_t first_not_finite(const MatrixView& w) {
  std::vector<float> values(static_cast<size_t>(w.cols));
  for (int64_t row = 0; row < w.rows; ++row) {
    w.decode(row, 0, w.cols, values.data());
    const auto at = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
    if (at != values.end()) return row * w.cols + (at - values.begin());
  }
  return -1;
}

[[noreturn]] void fail_damaged(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  fail(Fault::io,
       "{}: tensor {}: its checksum is not the one in manifest.json (2 tries); the file is damaged: restore it or pack "
       "the model anew",
       checkpoint.files()[tensor.file]->path(), tensor.name);
}

std::span<const float> load_vector(const Binder::VectorRequest& request, const Checkpoint& checkpoint, bool verify,
                                   std::byte* dest) {
  const TensorInfo& tensor = *request.tensor;
  std::vector<std::byte> raw(tensor.bytes);
  for (int n_tries = 0;; ++n_tries) {
    if (n_tries == 2) fail_damaged(checkpoint, tensor);
    checkpoint.files()[tensor.file]->read(tensor.offset, raw);
    if (!verify || !tensor.checksum || checksum_of(raw) == *tensor.checksum) break;
  }
  float* values = reinterpret_cast<float*>(dest);
  const int64_t n = tensor.n_values();
  format_info(tensor.format).decode({raw.data()}, 0, n, values);
  for (int64_t i = 0; i < n; ++i) {
    values[i] = transformed(values[i], request.transform);
    if (!std::isfinite(values[i])) fail_not_finite(checkpoint, tensor, i);
  }
  return {values, static_cast<size_t>(n)};
}

void drop_from_page_cache(const Binder::MatrixRequest& request, const Checkpoint& checkpoint) {
  for (const MatrixPart& part : parts_of(request)) {
    if (part.bytes > 0) checkpoint.files()[part.stored.file]->drop_page_cache(part.stored.offset, part.stored.bytes);
  }
}

// The reads that bring all matrices, and what each is for.
class MatrixReads {
 public:
  MatrixReads(const Checkpoint& checkpoint, bool direct, std::byte* memory)
      : checkpoint_(checkpoint), direct_(direct), next_(memory) {}

  void add(const Binder::MatrixRequest& request) {
    const std::array<MatrixPart, 3> parts = parts_of(request);
    request.target->data = add_part(request, parts[0]);
    request.target->scales = add_part(request, parts[1]);
    request.target->biases = add_part(request, parts[2]);
  }
  std::span<const ReadRequest> requests() const { return requests_; }
  std::byte* end() const { return next_; }

  [[noreturn]] void fail_read(const ReadDone& done) const {
    const Source& source = sources_[done.tag];
    fail(Fault::io, "{}: reading tensor {} at offset {} failed: {}", source.file->path(), source.tensor->name,
         requests_[done.tag].offset, read_error_text(done.error));
  }

 private:
  struct Source {
    const TensorInfo* tensor;
    const File* file;
  };

  // Where the part will be; null where there is none.
  const std::byte* add_part(const Binder::MatrixRequest& request, const MatrixPart& part) {
    if (part.bytes == 0) return nullptr;
    std::byte* base = next_;  // page-aligned
    next_ += part_span(request, part);
    const Source source = {request.tensor, checkpoint_.files()[part.stored.file].get()};
    const uint64_t offset = part.stored.offset;
    if (request.pieces.empty()) {
      const int fd = direct_ && source.file->direct_fd() >= 0 ? source.file->direct_fd() : source.file->buffered_fd();
      const uint64_t end = offset + part.bytes;
      add_reads(source, fd, round_down(offset, kPage), end, round_up(end, kPage), base);
      return base + offset_in_page(request, part);
    }
    std::byte* at = base;
    for (const RowPieces& pieces : request.pieces) {
      const auto bytes = static_cast<uint64_t>(pieces.n / part.group_rows * part.row_bytes);
      for (int64_t i = 0; i < pieces.times; ++i, at += bytes) {
        const int64_t row = (pieces.first + i * pieces.stride) / part.group_rows;
        const uint64_t first = offset + static_cast<uint64_t>(row * part.row_bytes);
        add_reads(source, source.file->buffered_fd(), first, first + bytes, first + bytes, at);
      }
    }
    return base;
  }

  // Bytes [first, end) of the file, reads going as far as read_end.
  void add_reads(const Source& source, int fd, uint64_t first, uint64_t end, uint64_t read_end, std::byte* dest) {
    for (uint64_t at = first; at < end; at += kReadBytes) {
      const uint64_t to = std::min(read_end, at + kReadBytes);
      requests_.push_back({fd, at, to - at, std::min(to, end) - at, dest + (at - first), requests_.size()});
      sources_.push_back(source);
    }
  }

  const Checkpoint& checkpoint_;
  bool direct_;
  std::byte* next_;
  std::vector<ReadRequest> requests_;
  std::vector<Source> sources_;  // [requests]
};

// Whether memory holds what was packed.
bool memory_is_right(const Binder::MatrixRequest& request) {
  if (!request.tensor->checksum) return true;
  const std::array<const std::byte*, 3> memory = {request.target->data, request.target->scales, request.target->biases};
  const std::array<MatrixPart, 3> parts = parts_of(request);
  Checksum checksum;
  for (size_t p = 0; p < parts.size(); ++p) {
    if (parts[p].bytes > 0) checksum.add({memory[p], static_cast<size_t>(parts[p].stored.bytes)});
  }
  return checksum.value() == *request.tensor->checksum;
}

// Whether the file does: of a matrix that was put together from pieces, or was not read.
bool file_is_right(const Binder::MatrixRequest& request, const Checkpoint& checkpoint) {
  if (!request.tensor->checksum) return true;
  const bool right = checksum_of_tensor(checkpoint, *request.tensor) == *request.tensor->checksum;
  if (request.target->data == nullptr) drop_from_page_cache(request, checkpoint);
  return right;
}

}  // namespace

uint64_t Trunk::bytes(const Binder& binder, RowsOf rows) {
  uint64_t total = 0;
  for (const auto& request : binder.matrices()) total += stays_in_file(request, rows) ? 0 : matrix_span(request);
  for (const auto& request : binder.vectors()) total += vector_span(*request.tensor);
  return total;
}

void Trunk::read_anew(const Binder::MatrixRequest& request, const Checkpoint& checkpoint) {
  const std::array<const std::byte*, 3> memory = {request.target->data, request.target->scales, request.target->biases};
  const std::array<MatrixPart, 3> parts = parts_of(request);
  for (size_t p = 0; p < parts.size(); ++p) {
    if (parts[p].bytes == 0) continue;
    const Extent& stored = parts[p].stored;
    std::byte* at = buffer_.data() + (memory[p] - buffer_.data());
    checkpoint.files()[stored.file]->read(stored.offset, {at, static_cast<size_t>(stored.bytes)});
  }
}

// Memory and cables err, too: what differs is read once more.
void Trunk::verify_matrices(const Binder& binder, const Checkpoint& checkpoint, ThreadPool& pool) {
  const auto& requests = binder.matrices();
  const auto as_read = [](const Binder::MatrixRequest& r) { return r.pieces.empty() && r.target->data != nullptr; };
  std::vector<char> right(requests.size());
  pool.parallel_for(static_cast<int64_t>(requests.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      right[i] = as_read(requests[i]) && memory_is_right(requests[i]) ? 1 : 0;
    }
  });
  for (size_t i = 0; i < requests.size(); ++i) {
    if (right[i] == 1) continue;
    if (as_read(requests[i])) {
      read_anew(requests[i], checkpoint);
      if (memory_is_right(requests[i])) continue;
    } else if (file_is_right(requests[i], checkpoint) || file_is_right(requests[i], checkpoint)) {
      continue;
    }
    fail_damaged(checkpoint, *requests[i].tensor);
  }
}

void Trunk::check_routers(const Binder& binder, const Checkpoint& checkpoint, ThreadPool& pool) {
  std::vector<const Binder::MatrixRequest*> routers;
  for (const auto& request : binder.matrices()) {
    if (request.use == MatrixUse::picks) routers.push_back(&request);
  }
  std::vector<int64_t> bad(routers.size());
  pool.parallel_for(static_cast<int64_t>(routers.size()), 1, [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      bad[i] = first_not_finite(*routers[i]->target);
    }
  });
  for (size_t i = 0; i < routers.size(); ++i) {
    if (bad[i] >= 0) fail_not_finite(checkpoint, *routers[i]->tensor, bad[i]);
  }
}

void Trunk::interleave_matrices(const Binder& binder, const KernelTable& kernels, ThreadPool& pool) {
  std::vector<Interleaving> matrices;
  for (const auto& request : binder.matrices()) {
    if (request.use == MatrixUse::products) matrices.push_back(interleaving_in(buffer_.data(), *request.target));
  }
  interleave(kernels, matrices, pool);
}

void Trunk::load(const Binder& binder, const Checkpoint& checkpoint, const Reading& how, Budget& budget,
                 const std::function<void(uint64_t)>& on_bytes) {
  ReadQueue& queue = how.queue;
  buffer_ = Buffer(budget, Allotted::trunk, bytes(binder, how.rows));
  MatrixReads matrices(checkpoint, how.direct, buffer_.data());
  for (const auto& request : binder.matrices()) {
    if (!stays_in_file(request, how.rows)) matrices.add(request);
  }
  const std::span<const ReadRequest> reads = matrices.requests();
  uint64_t done_bytes = 0;
  size_t submitted = 0;
  const auto window = static_cast<size_t>(queue.depth()) * 2;
  while (submitted < reads.size() || queue.pending() > 0) {
    const size_t room = window - std::min(window, static_cast<size_t>(queue.pending()));
    const size_t n = std::min(room, reads.size() - submitted);
    queue.submit(reads.subspan(submitted, n));
    submitted += n;
    for (const ReadDone& done : queue.wait(true)) {
      if (done.error != 0) matrices.fail_read(done);
      done_bytes += reads[done.tag].bytes;
      if (on_bytes) on_bytes(done_bytes);
    }
  }
  std::byte* at = matrices.end();
  for (const auto& request : binder.vectors()) {
    *request.target = load_vector(request, checkpoint, how.verify, at);
    at += vector_span(*request.tensor);
  }
  if (how.verify) verify_matrices(binder, checkpoint, how.pool);
  check_routers(binder, checkpoint, how.pool);
  if (how.interleave_for != nullptr) interleave_matrices(binder, *how.interleave_for, how.pool);
}

}  // namespace flashmoe
