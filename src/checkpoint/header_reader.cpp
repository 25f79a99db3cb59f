#include "checkpoint/header_reader.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "base/error.h"

namespace flashmoe {
namespace {

static_assert(std::endian::native == std::endian::little, "headers are read as little-endian memory");

constexpr uint64_t kWindowBytes = 256 * kKiB;
// A vocabulary of 250,000 tokens with its merges decodes to some 40 MB.
constexpr uint64_t kMaxDecodedBytes = 256 * kMiB;

}  // namespace

HeaderReader::HeaderReader(const File& file) : file_(file) {}

const std::byte* HeaderReader::take(size_t n_bytes, std::string_view what) {
  expect_room(1, n_bytes, what);
  if (position_ < window_begin_ || position_ + n_bytes > window_begin_ + window_.size()) {
    window_.resize(static_cast<size_t>(std::min(kWindowBytes, remaining())));
    window_begin_ = position_;
    file_.read(position_, window_);
  }
  const std::byte* bytes = window_.data() + (position_ - window_begin_);
  position_ += n_bytes;
  return bytes;
}

void HeaderReader::copy(std::span<std::byte> out, std::string_view what) {
  if (out.size() <= kWindowBytes) {
    std::memcpy(out.data(), take(out.size(), what), out.size());
    return;
  }
  expect_room(1, out.size(), what);
  file_.read(position_, out);
  position_ += out.size();
}

std::string HeaderReader::string(std::string_view what, uint64_t max_bytes) {
  const auto n_bytes = number<uint64_t>(what);
  expect_room(n_bytes, 1, what);
  if (n_bytes > max_bytes) {
    fail(Fault::input, "{}: {} at offset {} is {} bytes long, at most {} make sense: the file is damaged", file_.path(),
         what, position_ - 8, n_bytes, max_bytes);
  }
  spend(sizeof(std::string) + n_bytes, what);
  std::string text(static_cast<size_t>(n_bytes), '\0');
  if (n_bytes > 0) copy(std::as_writable_bytes(std::span(text)), what);
  return text;
}

void HeaderReader::expect_room(uint64_t n_items, uint64_t item_bytes, std::string_view what) const {
  if (n_items <= remaining() / item_bytes) return;
  fail(Fault::input,
       "{}: the file ends inside {} (offset {} of {}, {} x {} bytes wanted): truncated or damaged; fetch it again",
       file_.path(), what, position_, file_.size(), n_items, item_bytes);
}

void HeaderReader::spend(uint64_t bytes, std::string_view what) {
  if (bytes > kMaxDecodedBytes - spent_bytes_) {
    fail(Fault::input, "{}: the header needs more than {} of memory at {}: the file is damaged", file_.path(),
         human_bytes(kMaxDecodedBytes), what);
  }
  spent_bytes_ += bytes;
}

}  // namespace flashmoe
