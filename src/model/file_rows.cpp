#include "model/file_rows.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/error.h"
#include "io/read_error.h"

namespace flashmoe {
namespace {

constexpr uint64_t kRowsTogether = 64;  // read at once
constexpr uint64_t kParts = 3;          // of a row

// The most that a row of this part takes, read from one multiple of the alignment to another.
uint64_t span_of(const MatrixPart& part, uint64_t alignment) {
  return part.bytes == 0 ? 0 : round_up(static_cast<uint64_t>(part.row_bytes) + alignment - 1, alignment);
}

uint64_t place_bytes(const Binder::MatrixRequest& matrix, uint64_t alignment) {
  uint64_t bytes = 0;
  for (const MatrixPart& part : parts_of(matrix)) bytes += span_of(part, alignment);
  return bytes;
}

uint64_t offset_of(const MatrixPart& part, int64_t row) {
  return part.stored.offset + static_cast<uint64_t>(row / part.group_rows * part.row_bytes);
}

}  // namespace

uint64_t FileRows::bytes(const Binder::MatrixRequest& matrix, uint32_t alignment) {
  return kRowsTogether * place_bytes(matrix, alignment);
}

FileRows::FileRows(const Binder::MatrixRequest& matrix, const Checkpoint& checkpoint, std::unique_ptr<ReadQueue> queue,
                   uint32_t alignment, Budget& budget, uint32_t avoided_drives)
    : matrix_(*matrix.target),
      name_(matrix.tensor->name),
      parts_(parts_of(matrix)),
      alignment_(alignment),
      place_bytes_(place_bytes(matrix, alignment)),
      avoided_drives_(avoided_drives),
      buffer_(budget, Allotted::read_buffers, bytes(matrix, alignment)),
      queue_(std::move(queue)) {
  CHECK(matrix.pieces.empty());
  for (size_t p = 0; p < kParts; ++p) {
    const File& file = *checkpoint.files()[parts_[p].stored.file];
    descriptors_[p] = alignment > 1 ? file.direct_fd() : file.buffered_fd();
    paths_[p] = file.path();
  }
  requests_.reserve(kRowsTogether * kParts);
}

void FileRows::read(std::span<const int32_t> rows, float* out) {
  while (!rows.empty()) {
    const auto together = rows.first(std::min<size_t>(rows.size(), kRowsTogether));
    read_together(together);
    const std::byte* place = buffer_.data();
    for (const int32_t row : together) {
      decode(row, place, out);
      place += place_bytes_;
      out += matrix_.cols;
    }
    rows = rows.subspan(together.size());
  }
}

void FileRows::read_together(std::span<const int32_t> rows) {
  requests_.clear();
  std::byte* place = buffer_.data();
  for (const int32_t row : rows) {
    add_requests(row, place);
    place += place_bytes_;
  }
  queue_->submit(requests_);
  ReadDone failed;
  while (queue_->pending() > 0) {
    for (const ReadDone& done : queue_->wait(true)) {
      if (done.error != 0) failed = done;
    }
  }
  if (failed.error != 0) fail_read(failed);
}

void FileRows::add_requests(int32_t row, std::byte* place) {
  CHECK(row >= 0 && row < matrix_.rows);
  for (size_t p = 0; p < kParts; ++p) {
    if (parts_[p].bytes == 0) continue;
    const uint64_t offset = offset_of(parts_[p], row), first = round_down(offset, alignment_);
    const uint64_t end = offset + static_cast<uint64_t>(parts_[p].row_bytes);
    const uint64_t tag = requests_.size() * kParts + p;
    requests_.push_back(
        {descriptors_[p], first, round_up(end, alignment_) - first, end - first, place, tag, avoided_drives_});
    place += span_of(parts_[p], alignment_);
  }
}

void FileRows::decode(int32_t row, const std::byte* place, float* out) const {
  std::array<const std::byte*, kParts> at = {};
  for (size_t p = 0; p < kParts; ++p) {
    if (parts_[p].bytes == 0) continue;
    at[p] = place + offset_of(parts_[p], row) % alignment_;
    place += span_of(parts_[p], alignment_);
  }
  const PackedRow packed = {at[0], at[1], at[2], matrix_.grid.group_cols, matrix_.grid.type};
  format_info(matrix_.format).decode(packed, 0, matrix_.cols, out);
}

void FileRows::fail_read(const ReadDone& done) const {
  const ReadRequest& request = requests_[done.tag / kParts];
  const std::string path = queue_->path_on(done.drives, request.fd);
  fail(Fault::io, "{}: reading {} bytes of tensor {} at offset {} failed: {}",
       path.empty() ? paths_[done.tag % kParts] : path, request.needed_bytes, name_, request.offset,
       read_failure_text(done.error, done.n_tries));
}

}  // namespace flashmoe
