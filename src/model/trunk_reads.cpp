#include "model/trunk_reads.h"

#include <algorithm>
#include <array>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "io/read_error.h"

namespace flashmoe {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kReadBytes = 4 * kMiB;

// Rows that are put together from several places are read through the page cache, which needs no alignment.
uint64_t offset_in_page(const Binder::MatrixRequest& request, const MatrixPart& part) {
  return request.pieces.empty() ? part.stored.offset % kPage : 0;
}
uint64_t part_span(const Binder::MatrixRequest& request, const MatrixPart& part) {
  return part.bytes == 0 ? 0 : round_up(offset_in_page(request, part) + part.bytes, kPage);
}

[[noreturn]] void fail_read(const ReadQueue& queue, const File& file, const TensorInfo& tensor,
                            const ReadRequest& request, const ReadDone& done) {
  const std::string path = queue.path_on(done.drives, request.fd);
  fail(Fault::io, "{}: reading tensor {} at offset {} failed: {}", path.empty() ? file.path() : path, tensor.name,
       request.offset, read_failure_text(done.error, done.n_tries));
}

}  // namespace

uint64_t MatrixReads::span(const Binder::MatrixRequest& request) {
  uint64_t span = 0;
  for (const MatrixPart& part : parts_of(request)) span += part_span(request, part);
  return span;
}

const std::byte* MatrixReads::begin(const Binder::MatrixRequest& request) {
  return request.target->data - offset_in_page(request, parts_of(request)[0]);
}

void MatrixReads::add(const Binder::MatrixRequest& request) {
  const std::array<MatrixPart, 3> parts = parts_of(request);
  request.target->data = add_part(request, parts[0]);
  request.target->scales = add_part(request, parts[1]);
  request.target->biases = add_part(request, parts[2]);
}

// Where the part will be; null where there is none.
const std::byte* MatrixReads::add_part(const Binder::MatrixRequest& request, const MatrixPart& part) {
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
void MatrixReads::add_reads(const Source& source, int fd, uint64_t first, uint64_t end, uint64_t read_end,
                            std::byte* dest) {
  for (uint64_t at = first; at < end; at += kReadBytes) {
    const uint64_t to = std::min(read_end, at + kReadBytes);
    requests_.push_back({.fd = fd,
                         .offset = at,
                         .bytes = to - at,
                         .needed_bytes = std::min(to, end) - at,
                         .dest = dest + (at - first),
                         .tag = requests_.size(),
                         .avoided_drives = avoided_drives_});
    sources_.push_back(source);
  }
}

uint32_t MatrixReads::run(ReadQueue& queue, const std::function<void(uint64_t)>& on_bytes) const {
  const std::span<const ReadRequest> reads = requests_;
  uint64_t done_bytes = 0;
  uint32_t drives = 0;
  size_t submitted = 0;
  const auto window = static_cast<size_t>(queue.depth()) * 2;
  while (submitted < reads.size() || queue.pending() > 0) {
    const size_t room = window - std::min(window, static_cast<size_t>(queue.pending()));
    const size_t n = std::min(room, reads.size() - submitted);
    queue.submit(reads.subspan(submitted, n));
    submitted += n;
    for (const ReadDone& done : queue.wait(true)) {
      const Source& source = sources_[done.tag];
      if (done.error != 0) fail_read(queue, *source.file, *source.tensor, reads[done.tag], done);
      drives |= done.drives;
      done_bytes += reads[done.tag].bytes;
      if (on_bytes) on_bytes(done_bytes);
    }
  }
  return drives;
}

uint32_t read_stored(ReadQueue& queue, const File& file, const TensorInfo& tensor, uint64_t offset,
                     std::span<std::byte> out, uint32_t avoided_drives) {
  const ReadRequest request = {.fd = file.buffered_fd(),
                               .offset = offset,
                               .bytes = out.size(),
                               .needed_bytes = out.size(),
                               .dest = out.data(),
                               .avoided_drives = avoided_drives};
  queue.submit({&request, 1});
  ReadDone done;
  while (queue.pending() > 0) {
    for (const ReadDone& arrived : queue.wait(true)) done = arrived;
  }
  if (done.error != 0) fail_read(queue, file, tensor, request, done);
  return done.drives;
}

uint64_t stored_checksum(ReadQueue& queue, const Checkpoint& checkpoint, const TensorInfo& tensor,
                         uint32_t avoided_drives) {
  Checksum checksum;
  std::vector<std::byte> bytes;
  for (const Extent& part : {Extent{tensor.file, tensor.offset, tensor.bytes}, tensor.scales, tensor.biases}) {
    for (uint64_t at = 0; at < part.bytes; at += bytes.size()) {
      bytes.resize(std::min(kReadBytes, part.bytes - at));
      read_stored(queue, *checkpoint.files()[part.file], tensor, part.offset + at, bytes, avoided_drives);
      checksum.add(bytes);
    }
  }
  return checksum.value();
}

}  // namespace flashmoe
