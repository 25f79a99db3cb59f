#include "serve/chunked_framing.h"

#include <algorithm>
#include <string_view>

namespace flashmoe {
namespace {

constexpr size_t kLargestChunk = size_t{1} << 60;  // a further digit fits

}  // namespace

size_t ChunkedFraming::keep(char* bytes, size_t size) {
  size_t n_kept = 0;
  for (size_t i = 0; i < size && !broken();) {
    if (at_ == At::data) {
      const size_t n = std::min(left_, size - i);
      std::copy(bytes + i, bytes + i + n, bytes + n_kept);
      n_kept += n;
      i += n;
      left_ -= n;
      if (left_ == 0) at_ = At::data_return;
      continue;
    }
    const char byte = bytes[i++];
    if (keep(byte)) bytes[n_kept++] = byte;
  }
  return n_kept;
}

void ChunkedFraming::read_size(char byte) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const char lower = byte >= 'A' && byte <= 'F' ? static_cast<char>(byte - 'A' + 'a') : byte;
  const size_t digit = kDigits.find(lower);
  if (digit != std::string_view::npos && left_ < kLargestChunk / 16) {
    left_ = left_ * 16 + digit;
    at_ = At::size;
  } else if (at_ == At::first_digit || digit != std::string_view::npos) {
    at_ = At::broken;
  } else {
    at_ = byte == '\r' ? At::size_end : byte == ';' || byte == ' ' || byte == '\t' ? At::extension : At::broken;
  }
}

// Of all bytes but data.
bool ChunkedFraming::keep(char byte) {
  const auto expect = [&](char wanted, At next) { at_ = byte == wanted ? next : At::broken; };
  switch (at_) {
    case At::first_digit:
    case At::size:
      read_size(byte);
      return true;
    case At::extension:
      if (byte == '\r') at_ = At::size_end;
      if (byte == '\n') at_ = At::broken;
      return true;
    case At::size_end:
      expect('\n', left_ > 0 ? At::data : At::line);
      return true;
    case At::data_return:
      expect('\r', At::data_end);
      return true;
    case At::data_end:
      expect('\n', At::first_digit);
      return true;
    case At::line:
      at_ = byte == '\r' ? At::last : At::trailer;
      return byte == '\r';
    case At::trailer:
      if (byte == '\n') at_ = At::line;
      return false;
    case At::last:
      expect('\n', At::done);
      return true;
    default:
      at_ = At::broken;
      return false;
  }
}

}  // namespace flashmoe
